"""What every rule does that events meet."""

# ruff: noqa: S101 - suites are made of asserts

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import pytest

from flowdapt.errors import InvalidResource
from flowdapt.triggers import EventRule

PLACES = ("rule", "options")  #: where in a trigger a rule may find fault

Said = tuple[Any, Mapping[str, Any]]  #: a rule as a trigger has it, and the options


class EventRuleSuite:
    """What an :class:`~flowdapt.triggers.EventRule` does.

    :ivar rule_type: the class
    :ivar said: a rule that ``meeting`` meets
    :ivar meeting: an event that meets it, or several that do so together, the last one last
    :ivar faulty: what is refused
    """

    rule_type: type[EventRule]
    said: Said
    meeting: Sequence[Mapping[str, Any]]
    faulty: Sequence[Said]

    def made(self) -> EventRule:
        """Return the rule."""
        return self.rule_type(*self.said)

    def test_it_is_met_by_the_last_event_that_it_needs(self) -> None:
        rule = self.made()

        met = [rule.met_by(event) for event in self.meeting]

        assert met == [*[False] * (len(met) - 1), True]

    def test_it_says_which_events_can_meet_it(self) -> None:
        rule = self.made()
        for event in self.meeting:
            data = event.get("data")
            workflow = data.get("workflow") if isinstance(data, Mapping) else None
            assert not rule.types or event["type"] in rule.types
            assert not rule.workflows or workflow in rule.workflows

    def test_an_event_that_says_nothing_does_not_meet_it(self) -> None:
        event = {"id": "1", "type": "none", "time": "2031-04-05T06:07:08.000000", "data": None}
        met = False
        with suppress(Exception):  # which counts as not met
            met = self.made().met_by(event)
        assert not met

    def test_what_cannot_be_understood_is_refused_with_paths_within_the_trigger(self) -> None:
        rule, options = self.said
        for said in [*self.faulty, (rule, {**options, "no_such_option": 1})]:
            with pytest.raises(InvalidResource) as caught:
                self.rule_type(*said)
            assert caught.value.errors
            for error in caught.value.errors:
                assert error["loc"][0] in PLACES
                assert error["msg"]
