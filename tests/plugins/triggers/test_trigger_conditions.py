"""What conditions are true of, which are refused, and what is known of them beforehand."""

from __future__ import annotations

import random
from datetime import date, datetime, timedelta
from typing import Any

import pytest
from flowdapt_triggers.conditions import Condition
from flowdapt_triggers.expressions import DEEPEST

from flowdapt.events import RUN_FINISHED, RUN_STARTED
from tests.plugins.triggers.happenings import NOON, TYPE, WORKFLOW, faults, happened

RETRAIN = {
    "and": [
        {"eq": [{"var": "type"}, RUN_FINISHED]},
        {"eq": [{"var": "data.workflow"}, "harvest_prices"]},
        {"eq": [{"var": "data.state"}, "finished"]},
    ]
}


def met(rule: Any, **data: Any) -> bool:
    """Tell whether a rule is met by an event with these data, at noon."""
    return Condition(rule, {}, clock=lambda: NOON).met_by(happened(**data))


# Expressions ---------------------------------------------------------------------------------


def test_the_rule_of_the_contract_is_met_by_the_end_of_its_workflow_alone() -> None:
    condition = Condition(RETRAIN, {})

    assert condition.met_by(happened(workflow="harvest_prices", state="finished"))
    assert not condition.met_by(happened(workflow="harvest_prices", state="failed"))
    assert not condition.met_by(happened(workflow="others", state="finished"))
    assert not condition.met_by(happened(RUN_STARTED, workflow="harvest_prices", state="finished"))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("result.city", "oslo"),
        ("result.prices.1", 7),
        ("result.prices.2", None),
        ("result.prices.-1", None),
        ("result.prices.first", None),
        ("result.prices." + "9" * 5_000, None),
        ("result.names.0", "by its name"),
        ("result.nothing.more", None),
        ("result.city.0", None),
        ("absent.and.more", None),
    ],
)
def test_var_is_what_stands_at_a_path_and_null_where_nothing_does(path: str, value: Any) -> None:
    result = {
        "city": "oslo",
        "prices": [3, 7],
        "names": {"0": "by its name"},
        "nothing": None,
    }

    assert met({"eq": [{"var": f"data.{path}"}, value]}, result=result)


def test_var_takes_a_path_that_the_event_says() -> None:
    assert met({"eq": [{"var": {"var": "data.path"}}, RUN_FINISHED]}, path="type")


def test_data_may_be_anything() -> None:
    kinds: list[Any] = [None, "text", 7, []]

    condition = Condition({"eq": [{"var": "data.workflow"}, None]}, {})

    assert all(condition.met_by(happened() | {"data": data}) for data in kinds)


@pytest.mark.parametrize(
    "rule",
    [
        {"eq": [1, 1.0]},
        {"ne": [1, "1"]},
        {"gt": [2, 1]},
        {"lt": ["a", "b"]},
        {"ge": [2, 2]},
        {"le": [2, 2]},
        {"and": [1, "text", {"bool": [True]}]},
        {"and": {"eq": [1, 1]}},
        {"or": [0, "", None, {"eq": [1, 1]}]},
        {"not": {"eq": [1, 2]}},
        {"not": [[]]},
        {"bool": "text"},
        {"in": ["b", ["a", "b"]]},
        {"in": [{"var": "data.state"}, ["failed", {"var": "data.other"}]]},
        {"in": ["ail", {"var": "data.state"}]},
        {"contains": [{"var": "data.tags"}, "hot"]},
        {"matches": [{"var": "data.state"}, "^fail"]},
        {"matches": [{"var": "data.state"}, {"var": "data.pattern"}]},
        {"exists": "data.error"},
        {"exists": ["data.tags.0"]},
    ],
)
def test_operators_are_true_of_what_they_say(rule: Any) -> None:
    facts = {"state": "failed", "other": "lost", "tags": ["hot"], "error": None, "pattern": "led$"}

    assert met(rule, **facts)
    assert not met({"not": rule}, **facts)


@pytest.mark.parametrize("path", ["data.absent", "data.tags.1", "data.error.more", "absent"])
def test_exists_is_false_where_nothing_is(path: str) -> None:
    assert not met({"exists": path}, tags=["hot"], error=None)


@pytest.mark.parametrize(
    "rule",
    [
        {"gt": [{"var": "data.price"}, 5]},
        {"lt": [{"var": "data.state"}, 5]},
        {"ge": [{"var": "data.state"}, {"ago": "1h"}]},
        {"in": ["a", {"var": "data.price"}]},
        {"contains": ["text", 5]},
        {"matches": [{"var": "data.price"}, "^a"]},
    ],
)
def test_unlike_types_are_not_compared(rule: Any) -> None:
    with pytest.raises(TypeError):
        met(rule, price=None, state="failed")


# Times ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ("2031-04-05T12:00:00.000001", "2031-04-05T12:00:01"),
        ("2031-04-05T12:00:00+02:00", "2031-04-05T11:00:00"),
        ("2031-04-05T11:59:00Z", "2031-04-05T12:00:00.000000"),
        ("2031-04-05", "2031-04-05T00:00:01"),
        ("2031-04-05T23:00:00-02:00", "2031-04-06T02:00:00"),
        (date(2031, 4, 5), "2031-04-05T00:00:01"),
        (datetime(2031, 4, 5, 12), "2031-04-05T12:00:01"),  # as YAML reads them
        ("0001-01-01T00:00:00+14:00", "0001-01-01T00:00:00"),
        ("2031-04-05 or so", "2031-04-05 or so, late"),
        ("20310405+", "20310405-"),
    ],
)
def test_texts_that_are_times_are_compared_as_times(earlier: Any, later: Any) -> None:
    assert met({"lt": [{"var": "data.one"}, later]}, one=earlier)
    assert met({"ge": [later, {"var": "data.one"}]}, one=earlier)


def test_the_present_moves_on() -> None:
    times = [NOON, NOON + timedelta(hours=2)]
    rule = {"and": [{"gt": [{"var": "time"}, {"ago": "1h30m"}]}]}
    condition = Condition(rule, {}, clock=lambda: times[0])

    assert condition.met_by(happened())
    times.pop(0)
    assert not condition.met_by(happened())
    assert met({"le": [{"var": "time"}, {"now": []}]})


# Refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", [None, True, 5, "text", ["eq"], []])
def test_a_rule_is_an_object(rule: Any) -> None:
    assert faults(rule) == {
        ("rule",): f"{rule!r} is no condition; it should be an object with one key, the operator"
    }


def test_all_faults_are_told_at_once() -> None:
    rule = {
        "and": [
            {"eq": [{"var": ""}, {"vat": "type"}]},
            {"not": {"eq": [1]}},
            {"or": []},
            {"matches": [{"var": 5}, "(open"]},
            {"gt": [{"ago": "2 hours"}, {"now": "x"}]},
            {"eq": [{"var": "type"}, 1], "ne": [1]},
            {"in": ["a", [{}]]},
            {True: 1},
        ]
    }

    assert faults(rule, {"withni": 5, "by": "type"}) == {
        ("rule", "and", 0, "eq", 0, "var"): "'' is no path; it should be a text such as "
        "'data.state'",
        ("rule", "and", 0, "eq", 1, "vat"): "no operator is named 'vat' (did you mean 'var'?)",
        ("rule", "and", 1, "not", "eq"): "'eq' takes 2 operands, and not 1",
        ("rule", "and", 2, "or"): "'or' takes at least 1 operand, and not 0",
        ("rule", "and", 3, "matches", 0, "var"): "5 is no path; it should be a text such as "
        "'data.state'",
        ("rule", "and", 3, "matches", 1): "'(open' is no regular expression: missing ), "
        "unterminated subpattern at position 0",
        ("rule", "and", 4, "gt", 0, "ago"): "'2 hours' is no duration; it should be a number of "
        "seconds, or a text such as 30m, 2h or 7d",
        ("rule", "and", 4, "gt", 1, "now"): "'now' takes no operands, and should be written as "
        "{now: []}",
        ("rule", "and", 5): "has the keys 'eq', 'ne'; it should be an object with one key, the "
        "operator",
        ("rule", "and", 5, "ne"): "'ne' takes 2 operands, and not 1",
        ("rule", "and", 6, "in", 1, 0): "is empty; it should be an object with one key, the "
        "operator",
        ("rule", "and", 7, "True"): "no operator is named 'True'; there are var, exists, and, or, "
        "not, bool, eq, ne, gt, lt, ge, le, in, contains, matches, now, ago, and all at the top",
        ("options", "withni"): "no option is named 'withni' (did you mean 'within'?)",
        ("options", "by"): "'by' is for rules with 'all' at the top",
    }


@pytest.mark.parametrize(
    ("rule", "loc"),
    [
        ({"matches": ["a", "a{99999999999999999999}"]}, ("rule", "matches", 1)),
        ({"matches": ["a", "(" * 5_000 + ")" * 5_000]}, ("rule", "matches", 1)),
        ({"matches": ["a", 5]}, ("rule", "matches", 1)),
        ({"gt": ["a", {"ago": "99999999w"}]}, ("rule", "gt", 1, "ago")),
        ({"gt": ["a", {"ago": -1}]}, ("rule", "gt", 1, "ago")),
        ({"gt": ["a", {"ago": float("inf")}]}, ("rule", "gt", 1, "ago")),
        ({"gt": ["a", {"ago": {"var": "data.x"}}]}, ("rule", "gt", 1, "ago")),
        ({"exists": [["type"]]}, ("rule", "exists", 0)),
    ],
)
def test_what_could_never_be_computed_is_refused(rule: Any, loc: tuple[str | int, ...]) -> None:
    assert list(faults(rule)) == [loc]


def test_rules_are_nested_only_so_deep() -> None:
    rule: Any = {"bool": True}
    for _ in range(DEEPEST - 1):
        rule = {"not": rule}
    assert met(rule) == bool(DEEPEST % 2)

    for _ in range(5_000):
        rule = {"not": rule}
    literal: list[Any] = []
    for _ in range(5_000):
        literal = [literal]

    for deep in (rule, {"eq": [1, literal]}):
        (fact,) = faults(deep).values()
        assert fact == f"is nested more than {DEEPEST} deep; it should be flatter"


# What is known beforehand --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "types", "workflows"),
    [
        (RETRAIN, {RUN_FINISHED}, {"harvest_prices"}),
        ({"eq": ["a", {"var": ["type"]}]}, {"a"}, set()),
        ({"eq": [TYPE, None]}, set(), set()),
        ({"eq": [TYPE, WORKFLOW]}, set(), set()),
        ({"in": [TYPE, ["a", "b"]]}, {"a", "b"}, set()),
        ({"in": [TYPE, ["a", None]]}, set(), set()),
        ({"in": [TYPE, "abc"]}, set(), set()),
        ({"in": ["a", TYPE]}, set(), set()),
        ({"contains": [["a", "b"], WORKFLOW]}, set(), {"a", "b"}),
        ({"or": [{"eq": [TYPE, "a"]}, {"and": [{"eq": [TYPE, "b"]}, 1]}]}, {"a", "b"}, set()),
        ({"or": [{"eq": [TYPE, "a"]}, {"eq": [WORKFLOW, "w"]}]}, set(), set()),
        ({"and": [{"in": [TYPE, ["a", "b"]]}, {"in": [TYPE, ["b", "c"]]}]}, {"b"}, set()),
        ({"bool": {"eq": [TYPE, "a"]}}, {"a"}, set()),
        ({"not": {"eq": [TYPE, "a"]}}, set(), set()),
        ({"ne": [TYPE, "a"]}, set(), set()),
        ({"matches": [TYPE, "^a$"]}, set(), set()),
    ],
)
def test_what_a_rule_demands_is_known(rule: Any, types: set[str], workflows: set[str]) -> None:
    condition = Condition(rule, {})

    assert (condition.types, condition.workflows) == (types, workflows)


def test_a_join_demands_what_any_of_its_conditions_does() -> None:
    both = [{"and": [{"eq": [TYPE, "a"]}, {"eq": [WORKFLOW, "w"]}]}, {"eq": [TYPE, "b"]}]

    condition = Condition({"all": both}, {"within": "1h"})

    assert (condition.types, condition.workflows) == ({"a", "b"}, set())
    assert Condition({"all": [*both, {"bool": 1}]}, {"within": "1h"}).types == frozenset()


TEXTS = ["a", "b", "c", "ab"]


def leaf(dice: random.Random) -> Any:
    """Return any comparison, half of them of what rules may demand."""
    path = dice.choice([TYPE, WORKFLOW])
    if dice.random() < 0.5:
        texts = dice.sample(TEXTS, 2)
        return dice.choice([{"eq": [path, texts[0]]}, {"in": [path, texts]}])
    several = [dice.choice([*TEXTS, None, path]) for _ in range(dice.randint(0, 2))]
    operands = [path, dice.choice([TYPE, WORKFLOW, *TEXTS, None, several])]
    dice.shuffle(operands)
    return {dice.choice(["eq", "ne", "in", "contains"]): operands}


def tree(dice: random.Random, depth: int) -> Any:
    """Return any rule."""
    if not depth or dice.random() < 0.2:
        return leaf(dice)
    what = dice.choice(["and", "and", "or", "or", "not", "bool"])
    count = 1 if what in ("not", "bool") else dice.randint(1, 3)
    return {what: [tree(dice, depth - 1) for _ in range(count)]}


def some_event(dice: random.Random) -> dict[str, Any]:
    data: dict[str, Any] = {"workflow": dice.choice(TEXTS)} if dice.random() < 0.9 else {}
    return happened(dice.choice(TEXTS), **data)


def fits(condition: Condition, event: dict[str, Any]) -> bool:
    """Tell whether an event is one of those that can meet a rule."""
    pairs = [
        (condition.types, event["type"]),
        (condition.workflows, event["data"].get("workflow")),
    ]
    return all(not wanted or found in wanted for wanted, found in pairs)


def meets(condition: Condition, event: dict[str, Any]) -> bool:
    try:
        return condition.met_by(event)
    except TypeError:
        return False


def test_no_event_meets_a_rule_that_demands_another() -> None:
    dice = random.Random(405)
    events = [some_event(dice) for _ in range(40)]

    conditions = [Condition(tree(dice, 3), {}) for _ in range(1_500)]

    assert sum(bool(one.types or one.workflows) for one in conditions) > 300
    hits = [(one, event) for one in conditions for event in events if meets(one, event)]
    assert len(hits) > 10_000
    assert all(fits(*hit) for hit in hits)


def test_a_join_misses_nothing_where_it_hears_only_what_it_demands() -> None:
    dice = random.Random(406)
    demanding = 0

    for _ in range(500):
        rule = {"all": [tree(dice, 2), tree(dice, 2)]}
        one, other = (Condition(rule, {"within": "1m"}) for _ in range(2))
        demanding += bool(one.types or one.workflows)
        events = [some_event(dice) for _ in range(30)]
        met_by = [event for event in events if meets(one, event)]
        assert met_by == [event for event in events if fits(other, event) and meets(other, event)]

    assert demanding > 30
