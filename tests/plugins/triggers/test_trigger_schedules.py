"""When rules of time are due, and which ones are refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import islice, pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from flowdapt_testing.rules import Said, TimeRuleSuite
from flowdapt_triggers.schedules import Interval, Once, Schedule

from flowdapt.errors import InvalidResource
from flowdapt.triggers import TimeRule

MIDSPRING = datetime(2031, 4, 5, 12, tzinfo=UTC)
BERLIN, NEW_YORK, CAIRO = "Europe/Berlin", "America/New_York", "Africa/Cairo"
LORD_HOWE, KOLKATA = "Australia/Lord_Howe", "Asia/Kolkata"
MINUTE = timedelta(minutes=1)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def times(rule: TimeRule, after: datetime) -> Iterator[datetime]:
    while time := rule.due(after):
        yield time
        after = time


def due(rule: Any, after: str, *, count: int = 3, zone: str = "UTC", **options: Any) -> list[str]:
    """Return when a schedule is due, as clocks of the zone show it, with their offset."""
    made = Schedule(rule, {"timezone": zone, **options})
    found = islice(times(made, utc(after)), count)
    return [time.astimezone(ZoneInfo(zone)).isoformat(" ", "seconds") for time in found]


def faults(
    rule_type: type[TimeRule], rule: Any, options: Mapping[str, Any]
) -> dict[tuple[Any, ...], str]:
    with pytest.raises(InvalidResource) as caught:
        rule_type(rule, options)
    return {error["loc"]: error["msg"] for error in caught.value.errors}


# The contract

BAD_OPTIONS: list[dict[str, Any]] = [
    {"timezone": "Europe/Berln"},
    {"start": 5},
    {"end": "soon"},
    {"jitter": "-1s"},
    {"start": "2031-02-01", "end": "2031-01-01"},
]


class TestSchedule(TimeRuleSuite):
    rule_type = Schedule
    said = (["0 3 * * *", "*/20 6-7 * * MON-FRI"], {})
    faulty: Sequence[Said] = (
        *(("61 * * * *", {}), (["* * * * *", "x"], {}), ([], {}), ({}, {}), (5, {})),
        *(("@daily", options) for options in BAD_OPTIONS),
    )


class TestScheduleWhileClocksArePutForward(TimeRuleSuite):
    rule_type = Schedule
    said = (["30 2 * * *", "*/15 1-3 * * *"], {"timezone": BERLIN})
    around = datetime(2031, 3, 30, 1, tzinfo=UTC)


class TestScheduleWhileClocksArePutBack(TimeRuleSuite):
    rule_type = Schedule
    said = (["30 2 * * *", "*/15 1-3 * * *"], {"timezone": BERLIN, "jitter": "5m"})
    around = datetime(2031, 10, 26, 1, tzinfo=UTC)


class TestScheduleWithEndAndJitter(TimeRuleSuite):
    rule_type = Schedule
    said = (
        "*/10 * * * * * *",
        {"start": "2031-03-20", "end": "2031-04-08T00:00:07", "jitter": "1h"},
    )
    end = datetime(2031, 4, 8, 0, 0, 7, tzinfo=UTC)


class TestInterval(TimeRuleSuite):
    rule_type = Interval
    said = ("90m", {"jitter": 60, "end": "2031-05-01", "timezone": BERLIN})
    faulty: Sequence[Said] = (
        *(("0s", {}), (0.0001, {}), ("1ms", {}), (None, {}), (True, {}), ("200000w", {})),
        *((5, options) for options in BAD_OPTIONS),
    )
    end = datetime(2031, 4, 30, 22, tzinfo=UTC)


class TestIntervalOfLeastLength(TimeRuleSuite):
    rule_type = Interval
    said = (0.001, {"jitter": "1m"})


class TestOnce(TimeRuleSuite):
    rule_type = Once
    said = ("2031-04-05T03:00:00", {"timezone": BERLIN})
    faulty: Sequence[Said] = (
        *(("soon", {}), (5, {}), (None, {}), ("0001-01-01", {}), ("9999-12-31", {})),
        ("2031-04-05", {"jitter": 5}),
    )
    end = datetime(2031, 4, 5, 1, 0, 0, 1, tzinfo=UTC)


# Lines


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("0 3 * * *", ["04-06 03:00:00", "04-07 03:00:00"]),
        ("*/20 * * * *", ["04-05 12:20:00", "04-05 12:40:00", "04-05 13:00:00"]),
        ("5/25 12 * * *", ["04-05 12:05:00", "04-05 12:30:00", "04-05 12:55:00"]),
        ("0 9-17/4 * * mon-FRI", ["04-07 09:00:00", "04-07 13:00:00", "04-07 17:00:00"]),
        ("0 0 L * *", ["04-30 00:00:00", "05-31 00:00:00", "06-30 00:00:00"]),
        ("0 0 1 jan,JUL *", ["07-01 00:00:00", "2032-01-01 00:00:00"]),
        ("0 0 * * 0", ["04-06 00:00:00", "04-13 00:00:00"]),
        ("0 0 * * 7", ["04-06 00:00:00", "04-13 00:00:00"]),
        ("0 0 13 * FRI", ["04-11 00:00:00", "04-13 00:00:00", "04-18 00:00:00"]),
        ("0 0 29 2 *", ["2032-02-29 00:00:00", "2036-02-29 00:00:00"]),
        ("@hourly", ["04-05 13:00:00", "04-05 14:00:00"]),
        ("@daily", ["04-06 00:00:00", "04-07 00:00:00"]),
        ("@MIDNIGHT", ["04-06 00:00:00", "04-07 00:00:00"]),
        ("@weekly", ["04-06 00:00:00", "04-13 00:00:00"]),
        ("@monthly", ["05-01 00:00:00", "06-01 00:00:00"]),
        ("@yearly", ["2032-01-01 00:00:00", "2033-01-01 00:00:00"]),
        ("@annually", ["2032-01-01 00:00:00", "2033-01-01 00:00:00"]),
        ("0 0 1 1 * *", ["2032-01-01 00:00:00", "2033-01-01 00:00:00"]),
        ("0 0 1 1 * 2031-2040/3", ["2034-01-01 00:00:00", "2037-01-01 00:00:00"]),
        ("0 0 1 1 * 2035,2033", ["2033-01-01 00:00:00", "2035-01-01 00:00:00"]),
        ("0 0 1 1 * 2090/5", ["2090-01-01 00:00:00", "2095-01-01 00:00:00"]),
        ("0 0 1 1 * */50", ["2070-01-01 00:00:00"]),
        ("59 59 23 31 12 * 2031", ["12-31 23:59:59"]),
        ("*/25 0 12 * * * *", ["04-05 12:00:25", "04-05 12:00:50", "04-06 12:00:00"]),
        ("30 0 3 * * SUN *", ["04-06 03:00:30", "04-13 03:00:30"]),
        (["0 3 * * *", "0 2,3 * * *"], ["04-06 02:00:00", "04-06 03:00:00"]),
        ("0 0 1 1 * 2020", []),
        ("* * * * * 1970-2030", []),
    ],
)
def test_a_line_means_these_times(line: Any, expected: list[str]) -> None:
    found = due(line, "2031-04-05 12:00:00")

    assert [text.removesuffix("+00:00").removeprefix("2031-") for text in found][
        : len(expected) or 1
    ] == expected


def test_parts_of_a_second_count() -> None:
    rule = Schedule("* * * * * * *", {})

    assert rule.due(utc("2031-04-05 11:59:59.999999")) == MIDSPRING
    assert rule.due(MIDSPRING + timedelta(microseconds=1)) == MIDSPRING + timedelta(seconds=1)


def test_nothing_is_due_once_the_calendar_ends() -> None:
    last = datetime.max.replace(tzinfo=UTC)

    assert Schedule("* * * * *", {"timezone": NEW_YORK}).due(last) is None
    assert Schedule("0 0 29 2 *", {}).due(last) is None
    assert Interval("1h", {"jitter": "2h"}).due(last) is None


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("61 * * * *", "'61 * * * *': minute is '61', and must be 0 to 59"),
        ("1,x * * * *", "'1,x * * * *': minute is 'X', and must be 0 to 59"),
        ("* 24 * * *", "hour is '24', and must be 0 to 23"),
        ("* * 0 * *", "day of the month is '0', and must be 1 to 31, or L for the last"),
        ("* * * MAI *", "month is 'MAI', and must be 1 to 12, or JAN to DEC"),
        ("* * * * 8", "day of the week is '8', and must be 0 to 7, or SUN to SAT"),
        ("* * * * * 2100", "year is '2100', and must be 1970 to 2099"),
        ("* * * * * 2031,203x", "year is '203X', and must be 1970 to 2099"),
        ("60 * * * * * *", "second is '60', and must be 0 to 59"),
        ("0 0 12 * * MON", "of 6 fields the last is the year, of 7 the first is the second"),
        ("1,,2 * * * *", "minute is '', and must be 0 to 59"),
        ("*/0 * * * *", "minute is '*/0', and its step must be 1 or more"),
        ("* * * * * */0", "year is '*/0', and its step must be 1 or more"),
        ("* 22-4 * * *", "hour is '22-4', and a range must not end before it begins"),
        ("* * * * sat-sun", "must not end before it begins (Sunday is 7, too)"),
        ("* * * * * 2040-2031", "must not end before it begins"),
        ("9 99 9 99 9", "hour is '99', and must be 0 to 23; month is '99', and must be 1 to 12"),
        ("9" * 5000 + " * * * *", "must be 0 to 59"),
        ("* * * *", "a line has 5 fields (minute, hour, day of the month, month, day of the week)"),
        ("", ", and not 0"),
        ("@dialy", "'@dialy' is no alias of a cron line (did you mean '@daily'"),
        ("@reboot", "'@reboot' is no alias of a cron line; there are @yearly, "),
        ("0 0 30 2 *", "there is never a date with day of the month '30' and month '2'"),
        ("0 0 31 4,6 *", "there is never a date with day of the month '31' and month '4,6'"),
        ("0 0 29 2 * 2031,2033", "day of the month '29' and month '2' and year '2031,2033'"),
        ("0 0 */40 * MON#2", "day of the month '*/40' and day of the week 'MON#2'"),
        (5, "5 is no cron line such as '0 3 * * *'"),
    ],
)
def test_a_line_is_refused_with_what_is_wrong(line: Any, message: str) -> None:
    found = faults(Schedule, line, {})

    assert list(found) == [("rule",)]
    assert message in found["rule",]


def test_all_that_is_wrong_is_told_with_its_place() -> None:
    options = {"timezone": "Europe/Berln", "start": "x", "end": 5, "jitter": "1x", "jiter": 1}

    found = faults(Schedule, ["@daily", "60 * * * *", None], options)

    near = found.pop(("options", "timezone"))
    assert near.startswith("'Europe/Berln' is no time zone (did you mean 'Europe/Berlin' or ")
    assert found == {
        ("options", "jiter"): "no option is named 'jiter' (did you mean 'jitter'?)",
        ("options", "start"): "'x' is no time of the years 1970 to 9998; "
        "one is such as '2031-04-05T03:00:00' or '2031-04-05T03:00:00+02:00'",
        ("options", "end"): "5 is no time of the years 1970 to 9998; "
        "one is such as '2031-04-05T03:00:00' or '2031-04-05T03:00:00+02:00'",
        ("options", "jitter"): "'1x' is no duration from 0 s to a century; "
        "one is a number of seconds, or a text such as '30s' or '1h30m'",
        ("rule", 1): "'60 * * * *': minute is '60', and must be 0 to 59",
        ("rule", 2): "None is no cron line such as '0 3 * * *'",
    }


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("berlin", "did you mean 'Europe/Berlin'?"),
        ("New York", "did you mean 'America/New_York'?"),
        ("utc", "'UTC'"),
        ("Europe", "did you mean 'Europe/"),
        ("", "one is such as Europe/Berlin"),
        ("../../etc", "one is such as Europe/Berlin"),
        (5, "5 is no time zone; one is such as Europe/Berlin"),
    ],
)
def test_a_time_zone_that_there_is_not_is_refused_with_near_ones(name: Any, near: str) -> None:
    assert near in faults(Schedule, "@daily", {"timezone": name})["options", "timezone"]


# Clocks


def test_a_line_is_about_the_clocks_of_its_zone() -> None:
    assert due("0 3 * * *", "2031-04-05 12:00:00", zone=KOLKATA, count=2) == [
        "2031-04-06 03:00:00+05:30",
        "2031-04-07 03:00:00+05:30",
    ]


@pytest.mark.parametrize(
    ("zone", "day", "expected"),
    [
        (BERLIN, "2031-03-30", ["29 02:30:00+01:00", "30 03:00:00+02:00", "31 02:30:00+02:00"]),
        (NEW_YORK, "2031-03-09", ["08 02:30:00-05:00", "09 03:00:00-04:00", "10 02:30:00-04:00"]),
        (BERLIN, "2031-10-26", ["25 02:30:00+02:00", "26 02:30:00+02:00", "27 02:30:00+01:00"]),
        (NEW_YORK, "2031-11-02", ["01 02:30:00-04:00", "02 02:30:00-05:00", "03 02:30:00-05:00"]),
        (KOLKATA, "2031-03-30", ["29 02:30:00+05:30", "30 02:30:00+05:30", "31 02:30:00+05:30"]),
    ],
)
@pytest.mark.parametrize("line", ["30 2 * * *", "0 30 2 * * * *"])
def test_a_time_of_day_comes_once_a_day(
    line: str, zone: str, day: str, expected: list[str]
) -> None:
    begin = datetime.fromisoformat(day).replace(tzinfo=ZoneInfo(zone)) - timedelta(days=1)

    found = due(line, str(begin.astimezone(UTC)), zone=zone)

    assert [text[8:] for text in found] == expected


def test_a_time_that_is_shown_twice_counts_the_first_time() -> None:
    assert due("30 1 * * *", "2031-11-02 00:00:00", zone=NEW_YORK, count=2) == [
        "2031-11-02 01:30:00-04:00",
        "2031-11-03 01:30:00-05:00",
    ]


def test_of_several_in_the_gap_one_comes_after_it() -> None:
    assert due("0,20,40 2,3 * * *", "2031-03-30 00:30:00", zone=BERLIN, count=4) == [
        "2031-03-30 03:00:00+02:00",
        "2031-03-30 03:20:00+02:00",
        "2031-03-30 03:40:00+02:00",
        "2031-03-31 02:00:00+02:00",
    ]


def test_what_is_asked_while_clocks_show_it_again_was_before() -> None:
    assert due("30,45 2 * * *", "2031-10-26 01:35:00", zone=BERLIN, count=1) == [
        "2031-10-27 02:30:00+01:00"
    ]


def test_a_gap_of_a_second_line_ends_to_the_second() -> None:
    assert due("59 59 2 * * * *", "2031-03-30 00:30:00", zone=BERLIN, count=1) == [
        "2031-03-30 03:00:00+02:00"
    ]


def test_a_time_at_a_midnight_that_is_skipped_comes_right_after_it() -> None:
    assert due("30 0 * * *", "2031-04-24 12:00:00", zone=CAIRO, count=2) == [
        "2031-04-25 01:00:00+03:00",
        "2031-04-26 00:30:00+03:00",
    ]


def test_the_hour_after_a_midnight_that_is_skipped_is_not_lost() -> None:
    assert due("*/30 1 25 4 *", "2031-04-20 00:00:00", zone=CAIRO, count=2) == [
        "2031-04-25 01:00:00+03:00",
        "2031-04-25 01:30:00+03:00",
    ]


CHANGES = [
    *((BERLIN, "2031-03-30"), (BERLIN, "2031-10-26")),
    *((NEW_YORK, "2031-03-09"), (NEW_YORK, "2031-11-02")),
    *((CAIRO, "2031-04-25"), (CAIRO, "2031-10-31")),  # at midnight
    *((LORD_HOWE, "2031-04-06"), (LORD_HOWE, "2031-10-05")),  # by half an hour
    (KOLKATA, "2031-03-30"),  # not at all
]
STEPWISE = [  # with the hours and minutes that they mean
    ("*/10 * * * *", range(24), range(0, 60, 10)),
    ("*/7 1 * * *", [1], range(0, 60, 7)),
    ("* 2 * * *", [2], range(60)),
    ("*/20 3 * * *", [3], range(0, 60, 20)),
    ("*/20 0,23 * * *", [0, 23], range(0, 60, 20)),
    ("15 */2 * * *", range(0, 24, 2), [15]),
    ("0 * * * *", range(24), [0]),
    ("45 * * * *", range(24), [45]),
]


@pytest.mark.parametrize(("line", "hours", "minutes"), STEPWISE)
@pytest.mark.parametrize(("zone", "day"), CHANGES)
def test_what_follows_in_steps_comes_whenever_clocks_show_it(
    zone: str, day: str, line: str, hours: Any, minutes: Any
) -> None:
    begin = utc(day) - timedelta(days=1)
    every = [begin + MINUTE * number for number in range(3 * 24 * 60)]
    clocks = [(time, time.astimezone(ZoneInfo(zone))) for time in every]
    expected = [time for time, c in clocks if c.hour in hours and c.minute in minutes]

    rule = Schedule(line, {"timezone": zone})
    found = list(islice(times(rule, begin - MINUTE / 2), len(expected)))

    assert found == expected


def test_seconds_are_passed_over_in_the_gap_and_come_twice_in_the_hour_that_does() -> None:
    line = "59 59 * * * * *"

    spring = due(line, "2031-03-30 00:30:00", zone=BERLIN, count=2)
    autumn = due(line, "2031-10-26 00:30:00", zone=BERLIN, count=2)

    assert spring == ["2031-03-30 01:59:59+01:00", "2031-03-30 03:59:59+02:00"]
    assert autumn == ["2031-10-26 02:59:59+02:00", "2031-10-26 02:59:59+01:00"]


# Start, end and jitter


@pytest.mark.parametrize("start", ["2031-04-07T03:00", datetime(2031, 4, 7, 3)])
def test_the_start_counts_and_the_end_does_not(start: Any) -> None:
    options = {"start": start, "end": "2031-04-09T01:00:00+00:00"}

    found = due("0 3 * * *", "2031-01-01", zone=BERLIN, **options)

    assert found == ["2031-04-07 03:00:00+02:00", "2031-04-08 03:00:00+02:00"]


def test_a_date_is_its_first_moment_in_the_zone_of_the_rule() -> None:
    found = due("0 * * * *", "2031-01-01", zone=NEW_YORK, start=date(2031, 4, 7), count=1)

    assert found == ["2031-04-07 00:00:00-04:00"]


def test_options_that_are_set_to_nothing_have_their_defaults() -> None:
    nothing = dict.fromkeys(("timezone", "start", "end", "jitter"))

    assert Schedule("@daily", nothing).due(MIDSPRING) == utc("2031-04-06")


def test_the_end_must_be_after_the_start() -> None:
    found = faults(Interval, 5, {"start": "2031-01-01", "end": "2031-01-01"})

    assert found == {
        ("options", "end"): "the end 2031-01-01 00:00:00+00:00 is not after the start "
        "2031-01-01 00:00:00+00:00"
    }


def test_jitter_puts_each_time_off_by_another_part_of_it() -> None:
    rule = Schedule("0 * * * *", {"jitter": "10m"})

    found = list(islice(times(rule, MIDSPRING), 200))

    late = [time - time.replace(minute=0, second=0, microsecond=0) for time in found]
    assert {later.hour - time.hour for time, later in pairwise(found)} == {1, -23}
    assert max(late) < timedelta(minutes=10)
    assert max(late) - min(late) > timedelta(minutes=9)
    assert len(set(late)) == 200


@pytest.mark.parametrize("jitter", ["1s", "1m", "3h", "10w"])
def test_however_long_the_jitter_is_none_is_lost_and_the_order_stays(jitter: str) -> None:
    lines, end = ["*/10 0 3 * * * *", "0 4 * * *"], "2031-04-10"
    meant = list(times(Schedule(lines, {"end": end}), MIDSPRING))

    found = list(times(Schedule(lines, {"end": end, "jitter": jitter}), MIDSPRING))

    bounds = [*meant[1:], utc(end)]
    gaps = list(zip(meant, bounds, strict=True))
    taken = [gap for time in found for gap in gaps if gap[0] <= time < gap[1]]
    assert taken == gaps


def test_jitter_is_another_for_another_rule() -> None:
    one = Schedule("0 3 * * *", {"jitter": "1h"}).due(MIDSPRING)

    assert Schedule(["0 3 * * *"], {"jitter": "1h"}).due(MIDSPRING) != one
    assert Schedule("0 3 * * *", {"jitter": "1h"}).due(MIDSPRING) == one


# Intervals, and what is due once


def test_an_interval_counts_from_its_start() -> None:
    rule = Interval("1h30m", {"start": "2031-04-05T14:10", "timezone": BERLIN})

    assert list(islice(times(rule, utc("2031-01-01")), 3)) == [
        utc("2031-04-05 12:10"),
        utc("2031-04-05 13:40"),
        utc("2031-04-05 15:10"),
    ]


def test_without_start_an_interval_counts_from_the_beginning_of_1970() -> None:
    assert Interval(7, {}).due(MIDSPRING) == datetime.fromtimestamp(
        (MIDSPRING.timestamp() // 7 + 1) * 7, UTC
    )


def test_an_interval_may_be_of_milliseconds() -> None:
    assert Interval(0.001, {}).due(MIDSPRING) == MIDSPRING + timedelta(milliseconds=1)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("2031-04-05T03:00:00", "2031-04-05 01:00:00"),
        ("2031-04-05T03:00:00Z", "2031-04-05 03:00:00"),
        (datetime(2031, 4, 5, 3), "2031-04-05 01:00:00"),
        ("2031-03-30T02:30:00", "2031-03-30 01:00:00"),  # which clocks skip
        ("2031-10-26T02:30:00", "2031-10-26 00:30:00"),  # which they show twice
    ],
)
def test_what_is_due_once_is_due_then(said: Any, expected: str) -> None:
    rule = Once(said, {"timezone": BERLIN})

    assert list(times(rule, utc("2030-01-01"))) == [utc(expected)]
