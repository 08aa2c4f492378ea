"""What every rule does, whatever it goes by."""

# ruff: noqa: S101 - suites are made of asserts

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from flowdapt.errors import InvalidResource
from flowdapt.triggers import EventRule, Rule, TimeRule

PLACES = ("rule", "options")  #: where in a trigger a rule may find fault


class RuleSuite:
    """What rules of all kinds do. A subclass has ``make`` and ``bad``."""

    bad: Sequence[tuple[Any, Mapping[str, Any]]] = ()  #: rules with options that are refused

    def make(self) -> Rule:
        """Return a rule that may fire."""
        raise NotImplementedError

    def remade(self, rule: Any, options: Mapping[str, Any]) -> Rule:
        """Return a rule of the same type, with other content."""
        return type(self.make())(rule, options)

    def test_what_cannot_be_understood_is_refused_with_paths_within_the_trigger(self) -> None:
        assert self.bad, "name some content that is refused"
        for rule, options in self.bad:
            with pytest.raises(InvalidResource) as caught:
                self.remade(rule, options)
            assert caught.value.errors
            for error in caught.value.errors:
                assert error["loc"][0] in PLACES
                assert error["msg"]

    def test_an_option_that_it_does_not_know_is_refused(self) -> None:
        with pytest.raises(InvalidResource) as caught:
            self.remade(*self.with_option("no_such_option", 1))

        assert ("options", "no_such_option") in [e["loc"] for e in caught.value.errors]

    def with_option(self, name: str, value: Any) -> tuple[Any, Mapping[str, Any]]:
        """Return the content of :meth:`make` with one more option."""
        raise NotImplementedError


class TimeRuleSuite(RuleSuite):
    """What a :class:`~flowdapt.triggers.TimeRule` does.

    A subclass has ``bad``, ``make()`` for a rule that is due within a year after ``begin``, and
    ``with_option()``.
    """

    begin = datetime(2031, 1, 1, tzinfo=UTC)

    def make(self) -> TimeRule:
        """Return a rule that is due within a year."""
        raise NotImplementedError

    def test_a_time_is_after_the_one_that_is_asked_for_and_in_utc(self) -> None:
        rule, time = self.make(), self.begin
        for _ in range(50):
            due = rule.due(time)
            if due is None:
                break
            assert due > time
            assert due.utcoffset() == timedelta(0)
            time = due
        assert time > self.begin

    def test_who_asks_again_gets_the_same_answer(self) -> None:
        one, other = self.make(), self.make()
        assert one.due(self.begin) == one.due(self.begin) == other.due(self.begin)

    def test_no_time_is_left_out_and_none_comes_twice_whenever_it_is_asked(self) -> None:
        rule, numbers = self.make(), random.Random(7)  # noqa: S311 - not for secrets
        times: list[datetime] = []
        time = self.begin
        while len(times) < 30 and (due := rule.due(time)) is not None:  # noqa: PLR2004
            times.append(due)
            time = due
        for first, second in pairwise(times):
            between = first + (second - first) * numbers.random()
            assert rule.due(between) == second
            assert rule.due(second - timedelta(microseconds=1)) == second
            assert rule.due(first) == second


class EventRuleSuite(RuleSuite):
    """What an :class:`~flowdapt.triggers.EventRule` does.

    A subclass has ``bad``, ``make()``, ``with_option()``, and ``meeting``: an event that meets the
    rule of ``make()``, or several that do so together, the last one last.
    """

    meeting: Sequence[Mapping[str, Any]] = ()

    def make(self) -> EventRule:
        """Return a rule that the last event of ``meeting`` meets."""
        raise NotImplementedError

    def test_it_is_met_by_the_last_event_that_it_needs(self) -> None:
        rule = self.make()
        assert [rule.met_by(event) for event in self.meeting] == [
            *[False] * (len(self.meeting) - 1),
            True,
        ]

    def test_it_says_which_events_can_meet_it(self) -> None:
        rule = self.make()
        for event in self.meeting:
            assert not rule.types or event["type"] in rule.types
            data = event.get("data")
            workflow = data.get("workflow") if isinstance(data, Mapping) else None
            assert not rule.workflows or workflow in rule.workflows

    def test_an_event_without_anything_does_not_meet_it(self) -> None:
        event = {"id": "1", "type": "none", "time": "2031-04-05T06:07:08.000000", "data": None}
        with suppress(TypeError, ValueError, LookupError):  # which count as not met
            assert not self.make().met_by(event)
