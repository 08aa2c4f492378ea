"""What every rule of time does."""

# ruff: noqa: S101 - a suite is made of asserts

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from flowdapt.errors import InvalidResource
from flowdapt.triggers import TimeRule

Said = tuple[Any, Mapping[str, Any]]  #: the rule of a trigger, and its options

STEP = timedelta(hours=7, minutes=13, seconds=29, microseconds=654321)
STEPS = 100  #: of time that a rule is looked at; a month, all in all
MOST_TIMES = 25  #: that are looked at one after the other
LEAST = timedelta(microseconds=1)
EARLY, LATE = (datetime(year, 1, 1, tzinfo=UTC) for year in (1900, 9999))


class TimeRuleSuite:
    """What every :class:`flowdapt.triggers.TimeRule` does.

    A subclass says how one is made, and what is refused::

        class TestMyRule(TimeRuleSuite):
            rule_type = MyRule
            said = ("every full moon", {"timezone": "Europe/Berlin"})
            faulty = [("every full mon", {}), ("every full moon", {"timezone": "Europe/Berln"})]
    """

    rule_type: type[TimeRule]
    said: Said
    #: what is refused, one fault each; none if the rule takes whatever there is
    faulty: Sequence[Said] = ()
    #: a time around which something is due
    around: datetime = datetime(2031, 4, 1, 12, tzinfo=UTC)
    #: nothing is due then or later; if it never ends, the calendar does
    end: datetime = datetime.max.replace(tzinfo=UTC)

    @pytest.fixture
    def rule(self) -> TimeRule:
        """A rule as any process makes it."""
        return self.rule_type(*self.said)

    @pytest.fixture
    def asked(self, rule: TimeRule) -> list[datetime]:
        """Times to ask about, in order: before, on and after those that are due, and others."""
        begin = self.around - STEP * (STEPS // 2)
        some = [begin + STEP * number for number in range(STEPS)]
        due = _following(rule, begin)[:MOST_TIMES] + _following(rule, self.around)[:MOST_TIMES]
        near = [time + shift * LEAST for time in due for shift in (-1, 0, 1)]
        return sorted({*some, *near, EARLY, LATE})

    def test_it_is_due_after_the_time_that_is_asked_about(
        self, rule: TimeRule, asked: list[datetime]
    ) -> None:
        due = [(after, time) for after in asked if (time := rule.due(after))]

        assert due
        assert [(after, time) for after, time in due if time <= after] == []

    def test_times_are_aware_and_in_utc(self, rule: TimeRule, asked: list[datetime]) -> None:
        offsets = {time.utcoffset() for after in asked if (time := rule.due(after))}

        assert offsets == {timedelta(0)}

    def test_who_asks_again_gets_the_same_answer_also_elsewhere(
        self, rule: TimeRule, asked: list[datetime]
    ) -> None:
        first = [rule.due(after) for after in asked]
        other = self.rule_type(*self.said)

        assert [rule.due(after) for after in reversed(asked)] == first[::-1]
        assert [other.due(after) for after in asked] == first

    def test_who_asks_about_a_later_time_gets_no_earlier_answer(
        self, rule: TimeRule, asked: list[datetime]
    ) -> None:
        answers = [rule.due(after) or datetime.max.replace(tzinfo=UTC) for after in asked]

        assert [pair for pair in pairwise(answers) if pair[0] > pair[1]] == []

    def test_until_it_is_due_the_answer_stays(self, rule: TimeRule, asked: list[datetime]) -> None:
        for after in asked:
            if time := rule.due(after):
                assert rule.due(time - LEAST) == time
                assert rule.due(after + (time - after) / 2) == time

    def test_nothing_is_due_at_the_end_or_later(
        self, rule: TimeRule, asked: list[datetime]
    ) -> None:
        times = [time for after in asked if (time := rule.due(after))]

        assert max(times) < self.end
        assert rule.due(self.end - LEAST) is None
        assert rule.due(self.end) is None

    def test_what_cannot_be_understood_is_refused_with_its_place(self) -> None:
        for said in self.faulty:
            with pytest.raises(InvalidResource) as caught:
                self.rule_type(*said)

            assert {error["loc"][0] for error in caught.value.errors} <= {"rule", "options"}, said
            assert all(error["msg"] for error in caught.value.errors), said

    def test_an_option_that_it_does_not_know_is_refused(self) -> None:
        rule, options = self.said

        with pytest.raises(InvalidResource) as caught:
            self.rule_type(rule, {**options, "nonsense": 1})

        assert [error["loc"] for error in caught.value.errors] == [("options", "nonsense")]


def _following(rule: TimeRule, after: datetime) -> list[datetime]:
    """Return the times that follow, not too many."""
    times: list[datetime] = []
    while len(times) < MOST_TIMES and (time := rule.due(times[-1] if times else after)):
        times.append(time)
    return times
