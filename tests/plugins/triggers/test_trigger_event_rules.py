"""Conditions do what every rule does that events meet."""

from __future__ import annotations

from flowdapt_triggers.conditions import Condition

from flowdapt.testing import EventRuleSuite

GROWN = {"id": "a", "type": "grown", "time": "2031-04-05T06:07:08.000000", "data": {"n": 3}}
PICKED = {"id": "b", "type": "picked", "time": "2031-04-05T06:07:09.000000", "data": None}


class TestCondition(EventRuleSuite):
    rule_type = Condition
    said = ({"and": [{"eq": [{"var": "type"}, "grown"]}, {"gt": [{"var": "data.n"}, 2]}]}, {})
    meeting = (GROWN,)
    faulty = (({"eqq": [1, 2]}, {}), ({"eq": [1]}, {}), ([], {}), ({"eq": [1, 1]}, {"within": 1}))


class TestJoin(EventRuleSuite):
    rule_type = Condition
    said = (
        {"all": [{"eq": [{"var": "type"}, "grown"]}, {"eq": [{"var": "type"}, "picked"]}]},
        {"within": "1m"},
    )
    meeting = (GROWN, PICKED)
    faulty = (({"all": []}, {"within": "1m"}), ({"all": [{"eq": [1, 1]}]}, {}))
