"""Joins: several events that together meet a rule, within a time and about one thing."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest
from flowdapt_triggers.conditions import Condition
from flowdapt_triggers.joins import MOST_APART

from tests.plugins.triggers.happenings import TYPE, faults, happened

BOTH = {"all": [{"eq": [TYPE, "prices"]}, {"eq": [TYPE, "weather"]}]}


def test_a_join_is_met_by_the_event_that_completes_it_and_begins_anew() -> None:
    condition = Condition(BOTH, {"within": "1m"})

    names = ["prices", "prices", "weather", "prices", "others", "weather", "weather"]
    told = [condition.met_by(happened(name, after=n)) for n, name in enumerate(names)]

    assert told == [False, False, True, False, False, True, False]


def test_what_is_longer_ago_than_the_window_does_not_count() -> None:
    condition = Condition(BOTH, {"within": "1m"})

    assert not condition.met_by(happened("prices", after=0))
    assert not condition.met_by(happened("weather", after=60.000001))
    assert condition.met_by(happened("prices", after=120.000001))


def test_an_event_that_comes_late_counts_by_its_time() -> None:
    condition = Condition(BOTH, {"within": "1m"})

    assert not condition.met_by(happened("prices", after=100))
    assert not condition.met_by(happened("weather", after=39))
    assert not condition.met_by(happened("prices", after=10))
    assert condition.met_by(happened("weather", after=41))


def test_one_event_may_meet_several_conditions() -> None:
    rule = {"all": [{"eq": [TYPE, "prices"]}, {"exists": "data.city"}]}

    assert Condition(rule, {"within": 0}).met_by(happened("prices", city="oslo"))


def test_joins_are_kept_apart_by_a_value() -> None:
    condition = Condition(BOTH, {"within": "1m", "by": "data.result.city"})

    def told(what: str, city: Any) -> bool:
        return condition.met_by(happened(what, result={"city": city}))

    assert not told("prices", "oslo")
    assert not told("weather", "rome")
    assert told("prices", "rome")
    assert not told("prices", {"name": "oslo"})
    assert told("weather", {"name": "oslo"})
    assert told("weather", "oslo")


def test_a_join_forgets_the_oldest_of_too_many_values() -> None:
    condition = Condition(BOTH, {"within": "1d", "by": "data.city"})
    prices = happened("prices")
    tracemalloc.start()

    for city in (0, 1, *range(2, MOST_APART), 0, MOST_APART):
        prices["data"] = {"city": city}
        condition.met_by(prices)

    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < MOST_APART * 1_000
    assert not condition.met_by(happened("weather", city=1))
    assert condition.met_by(happened("weather", city=0))
    assert condition.met_by(happened("weather", city=MOST_APART))


def test_a_condition_that_fails_keeps_no_other_from_being_met() -> None:
    rule = {"all": [{"gt": [{"var": "data.price"}, 5]}, {"eq": [TYPE, "weather"]}]}
    condition = Condition(rule, {"within": "1m"})

    with pytest.raises(TypeError):
        condition.met_by(happened("weather", price=None))

    assert condition.met_by(happened("prices", price=6))


def test_an_event_without_a_time_is_not_joined() -> None:
    condition = Condition(BOTH, {"within": "1m"})

    with pytest.raises(ValueError, match="event has the time 'soon'; it should be an ISO 8601"):
        condition.met_by(happened("prices") | {"time": "soon"})


def test_what_is_wrong_with_a_join_is_told() -> None:
    nested = {"all": ["text", {"eq": [1]}, {"and": [{"all": [{"bool": 1}]}]}]}

    assert faults(nested, {"within": "soon", "by": 5}) == {
        ("rule", "all", 0): "'text' is no condition; it should be an object with one key, the "
        "operator",
        ("rule", "all", 1, "eq"): "'eq' takes 2 operands, and not 1",
        ("rule", "all", 2, "and", 0, "all"): "'all' should be at the top of the rule, and not "
        "within another operator",
        ("options", "within"): "'soon' is no duration; it should be a number of seconds, or a text "
        "such as 30m, 2h or 7d",
        ("options", "by"): "5 is no path; it should be a text such as 'data.result.city'",
    }
    assert faults({"all": []}) == {
        ("rule", "all"): "'all' takes at least 1 condition, and not 0",
        ("options", "within"): "'within' should say how long 'all' may take",
    }
    assert faults({"bool": 1}, {"within": "1h"}) == {
        ("options", "within"): "'within' is for rules with 'all' at the top",
    }
