"""Rules that go by time: cron lines, equal distances, one time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flowdapt_triggers.schedules import Interval, Once, Schedule

from flowdapt.errors import InvalidResource
from flowdapt.testing import TimeRuleSuite
from flowdapt.triggers import TimeRule

BERLIN, NEW_YORK = {"timezone": "Europe/Berlin"}, {"timezone": "America/New_York"}


def times(rule: TimeRule, after: str, count: int = 3) -> list[str]:
    """Return the next times after one, in UTC, without what says so."""
    time, found = datetime.fromisoformat(after).replace(tzinfo=UTC), list[str]()
    for _ in range(count):
        due = rule.due(time)
        if due is None:
            break
        found.append(due.strftime("%m-%d %H:%M:%S").removesuffix(":00"))
        time = due
    return found


# What every rule does ------------------------------------------------------------------------


class TestSchedule(TimeRuleSuite):
    content: tuple[Any, Mapping[str, Any]] = (["*/7 3-5 * * 1-5", "30 2 L * *"], BERLIN)
    bad: Sequence[tuple[Any, Mapping[str, Any]]] = (
        ([], {}),
        (["61 * * * *"], {}),
        ({"a": 1}, {}),
        (["* * * * *"], {"timezone": "Mars/Base"}),
        (["* * * * *"], {"start": "2031-02-30"}),
        (["* * * * *"], {"jitter": "-3"}),
    )

    def make(self) -> TimeRule:
        return Schedule(*self.content)

    def with_option(self, name: str, value: Any) -> tuple[Any, Mapping[str, Any]]:
        rule, options = self.content
        return rule, {**options, name: value}


class TestScheduleWithJitter(TestSchedule):
    content = (["*/7 3-5 * * 1-5", "30 2 L * *"], {**NEW_YORK, "jitter": "2h"})


class TestScheduleOfSeconds(TestSchedule):
    content = (["*/13 * * * * * *"], {"jitter": 30})


class TestInterval(TestSchedule):
    content = ("90m", {"start": "2031-02-01T00:00:00.5"})
    bad = (("", {}), ("0s", {}), (0.0001, {}), ("soon", {}), ("1h", {"end": "never"}))

    def make(self) -> TimeRule:
        return Interval(*self.content)


class TestOnce(TestSchedule):
    content = ("2031-04-05T06:07:08", BERLIN)
    bad = (("now", {}), (3, {}), ("2031-04-05", {"timezone": 5}))

    def make(self) -> TimeRule:
        return Once(*self.content)


# Lines ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("0 3 * * *", ["01-01 03:00", "01-02 03:00", "01-03 03:00"]),
        ("*/20 1-2 * * *", ["01-01 01:00", "01-01 01:20", "01-01 01:40"]),
        ("0 0 L * *", ["01-31 00:00", "02-28 00:00", "03-31 00:00"]),
        ("0 12 * JAN,mar mon", ["01-06 12:00", "01-13 12:00", "01-20 12:00"]),
        ("0 0 * * 7", ["01-05 00:00", "01-12 00:00", "01-19 00:00"]),
        ("0 0 13 * 5", ["01-03 00:00", "01-10 00:00", "01-13 00:00"]),
        ("@weekly", ["01-05 00:00", "01-12 00:00", "01-19 00:00"]),
        ("@Hourly", ["01-01 01:00", "01-01 02:00", "01-01 03:00"]),
        ("30 1 1 1 * 2032-2036/2", ["01-01 01:30", "01-01 01:30", "01-01 01:30"]),
        ("0 0 1 1 * 2031", []),
        ("15 30 6 * * * *", ["01-01 06:30:15", "01-02 06:30:15", "01-03 06:30:15"]),
        ("*/25 * * * * * *", ["01-01 00:00:25", "01-01 00:00:50", "01-01 00:01"]),
        ("59 59 23 31 12 * 2031", ["12-31 23:59:59"]),
    ],
)
def test_lines_are_read_as_cron_reads_them(line: str, expected: list[str]) -> None:
    assert times(Schedule([line], {}), "2031-01-01T00:00:00") == expected


def test_of_several_lines_each_counts() -> None:
    rule = Schedule(["0 6 * * *", "0 18 * * *"], {})

    assert times(rule, "2031-01-01T00:00:00") == ["01-01 06:00", "01-01 18:00", "01-02 06:00"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("61 * * * *", "'61 * * * *': minute is '61', and must be 0 to 59"),
        ("0 24 * * *", "hour is '24', and must be 0 to 23"),
        ("0 0 30 2 *", "day-of-month is '30', and must be 1 to 31, L, or LW, and a day that one"),
        ("0 0 * 13 *", "month is '13', and must be 1 to 12, or JAN to DEC"),
        ("0 0 * * MOM", "day-of-week is 'MOM', and must be 0 to 7, or SUN to SAT"),
        ("60 0 0 1 1 * *", "second is '60', and must be 0 to 59"),
        ("0 0 1 1 * 31", "year is '31', and must be 1970 to 2099"),
        ("0 0 1 1 * 2040-2030", "year is '2040-2030', and must be 1970 to 2099"),
        ("*/0 * * * *", "minute is '*/0', and must be 0 to 59"),
        ("* * *", "has 3 fields, and must have 5 (minute, hour, day of month, month, day of week)"),
        ("@often", "'@often' has 1 fields, and must have 5"),
    ],
)
def test_a_line_that_is_none_is_refused_with_the_field(line: str, said: str) -> None:
    with pytest.raises(InvalidResource) as caught:
        Schedule(["0 0 * * *", line], {})

    (error,) = caught.value.errors
    assert error["loc"] == ("rule", 1)
    assert said in error["msg"]


# Time zones ----------------------------------------------------------------------------------


def test_a_time_that_clocks_leave_out_comes_right_after_the_gap() -> None:
    rule = Schedule(["30 2 * * *"], BERLIN)

    assert times(rule, "2031-03-29T00:00:00") == ["03-29 01:30", "03-30 01:00", "03-31 00:30"]
    assert times(Schedule(["0 30 2 * * * *"], BERLIN), "2031-03-30T00:00:00", 1) == ["03-30 01:00"]
    assert times(Schedule(["30 2 * * *"], NEW_YORK), "2031-03-08T12:00:00", 2) == [
        "03-09 07:00",
        "03-10 06:30",
    ]


def test_a_time_that_clocks_show_twice_comes_once() -> None:
    rule = Schedule(["30 2 * * *"], BERLIN)

    assert times(rule, "2031-10-25T12:00:00", 2) == ["10-26 00:30", "10-27 01:30"]
    assert times(rule, "2031-10-26T00:45:00", 1) == ["10-27 01:30"]
    assert times(Schedule(["30 1 * * *"], NEW_YORK), "2031-11-01T12:00:00", 2) == [
        "11-02 05:30",
        "11-03 06:30",
    ]


def test_what_comes_every_so_often_goes_on_by_real_time() -> None:
    rule = Schedule(["*/30 * * * *"], BERLIN)

    assert len(times(rule, "2031-10-25T22:00:00", 50)) == 50
    assert times(rule, "2031-10-26T00:00:00", 4) == [
        "10-26 00:30",
        "10-26 01:00",
        "10-26 01:30",
        "10-26 02:00",
    ]
    assert times(rule, "2031-03-30T00:30:00", 2) == ["03-30 01:00", "03-30 01:30"]


def test_a_zone_that_knows_no_summer_has_the_same_times_all_year() -> None:
    rule = Schedule(["0 9 1 * *"], {"timezone": "Asia/Kolkata"})

    assert {time[6:] for time in times(rule, "2031-01-01T00:00:00", 12)} == {"03:30"}


def test_a_zone_that_is_not_known_is_refused_with_near_ones() -> None:
    with pytest.raises(
        InvalidResource,
        match=r"options.timezone: 'Europe/Berln' is no time zone \(did you mean 'Europe/Berlin'",
    ):
        Schedule(["0 0 * * *"], {"timezone": "Europe/Berln"})


# Begin, end and jitter -----------------------------------------------------------------------


def test_times_are_between_begin_and_end() -> None:
    rule = Schedule(["0 0 * * *"], {**BERLIN, "start": "2031-05-01", "end": "2031-05-04"})

    assert times(rule, "2031-01-01T00:00:00", 9) == ["04-30 22:00", "05-01 22:00", "05-02 22:00"]


def test_an_interval_is_counted_from_its_begin() -> None:
    rule = Interval("1h", {"start": "2031-01-01T00:10:00+02:00"})

    assert times(rule, "2030-01-01T00:00:00", 2) == ["12-31 22:10", "12-31 23:10"]
    assert times(Interval(0.25, {}), "2031-01-01T00:00:00", 4)[-1] == "01-01 00:00:01"


def test_times_are_moved_by_a_part_of_the_jitter_and_stay_in_order() -> None:
    rule = Schedule(["0 * * * *"], {"jitter": "30m"})
    time, moves = datetime(2031, 1, 1, tzinfo=UTC), list[timedelta]()
    for _ in range(200):
        due = rule.due(time)
        assert due is not None
        moves.append(due - due.replace(minute=0, second=0, microsecond=0))
        time = due

    assert len(set(moves)) == 200
    assert timedelta(0) <= min(moves) < timedelta(minutes=2)
    assert timedelta(minutes=28) < max(moves) < timedelta(minutes=30)


def test_two_triggers_with_the_same_line_and_rule_are_moved_alike_and_others_not() -> None:
    one, same, other = (
        Schedule([line], {"jitter": "1h"}) for line in ("0 0 * * *", "0 0 * * *", "0 0 * * 0-6")
    )

    assert times(one, "2031-01-01T00:00:00") == times(same, "2031-01-01T00:00:00")
    assert times(one, "2031-01-01T00:00:00") != times(other, "2031-01-01T00:00:00")


def test_an_end_that_is_before_the_begin_is_refused() -> None:
    with pytest.raises(InvalidResource, match=r"options\.end: 2030-01-01 is not after the start"):
        Schedule(["0 0 * * *"], {"start": "2031-01-01", "end": "2030-01-01"})
