"""Triggers that go by time: each time once, also when the server dies and the clock is set."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from flowdapt_triggers.history import KEYS_KEPT, Past
from flowdapt_triggers.resource import TriggerRule

from flowdapt.errors import InvalidResource
from flowdapt.runs import RunState

from .conftest import BEGIN, Yard, clock

pytestmark = pytest.mark.anyio

MINUTELY: dict[str, Any] = {"type": "interval", "rule": "1m"}


async def test_a_trigger_fires_when_it_is_due_and_its_run_says_so(yard: Yard) -> None:
    trigger = await yard.apply(**MINUTELY)

    await yard.clock.advance(150)

    runs = await yard.runs()
    assert [run.source for run in runs] == ["trigger", "trigger"]
    assert [run.state for run in runs] == [RunState.FINISHED] * 2
    told = await yard.told()
    assert [clock(one) for one in told] == ["00:01:00", "00:02:00"]
    assert [one["run"] for one in told] == [str(run.uid) for run in runs]
    assert {one["trigger"] for one in told} == {"t"}
    assert yard.service.next_time(trigger.metadata.uid) == BEGIN + timedelta(minutes=3)


async def test_what_was_due_before_a_trigger_was_applied_or_changed_does_not_count(
    yard: Yard,
) -> None:
    await yard.clock.advance(90)
    await yard.apply(**MINUTELY, misfire="all")
    await yard.clock.advance(40)
    assert await yard.due() == ["00:02:00"]

    await yard.apply(**MINUTELY, misfire="all", concurrency="forbid")
    await yard.clock.advance(60)

    assert await yard.due() == ["00:02:00", "00:03:00"]


async def test_that_it_fired_is_noted_on_the_trigger_which_counts_as_no_change(yard: Yard) -> None:
    first = await yard.apply(**MINUTELY)
    await yard.clock.advance(61)

    await yard.service.notes.write()

    noted = await yard.engine.get(TriggerRule, "t")
    assert noted.metadata.annotations["flowdapt.ai/last_run"] == "2021-04-05T00:01:00.000000"
    assert noted.metadata.updated_at == BEGIN + timedelta(minutes=1)
    assert noted.metadata.generation == first.metadata.generation


# Death and the clock -------------------------------------------------------------------------


@pytest.mark.parametrize("written", [True, False])
async def test_no_time_fires_twice_and_none_is_forgotten_when_the_server_is_killed(
    yard: Yard, written: bool
) -> None:
    await yard.apply(**MINUTELY, misfire="all")
    await yard.clock.advance(125)
    if written:
        await yard.service.notes.write()

    await yard.kill()
    await yard.clock.advance(125)
    await yard.begin()
    await yard.clock.advance(60)

    assert await yard.due() == [f"00:0{minute}:00" for minute in range(1, 6)]
    assert len(await yard.runs()) == 5


async def test_what_is_missed_is_accounted_for(yard: Yard) -> None:
    await yard.apply(**MINUTELY)
    await yard.clock.advance(61)

    await yard.kill()
    await yard.clock.advance(620)
    await yard.begin()
    await yard.clock.advance(30)

    (missed,) = await yard.told("missed")
    assert await yard.due() == ["00:01:00"]
    assert (missed["count"], missed["first"], missed["last"]) == (
        10,
        "2021-04-05T00:02:00.000000",
        "2021-04-05T00:11:00.000000",
    )


async def test_the_newest_missed_time_is_made_up_where_that_is_wanted(yard: Yard) -> None:
    await yard.apply(**MINUTELY, misfire="once")
    await yard.clock.advance(61)

    await yard.kill()
    await yard.clock.advance(620)
    await yard.begin()

    assert await yard.due() == ["00:01:00", "00:11:00"]
    assert [one["count"] for one in await yard.told("missed")] == [9]


async def test_a_clock_that_is_set_back_fires_nothing_twice(yard: Yard) -> None:
    await yard.apply(**MINUTELY)
    await yard.clock.advance(121)

    yard.clock.set(BEGIN - timedelta(minutes=58))
    await yard.clock.advance(3600)
    assert await yard.due() == ["00:01:00", "00:02:00"]
    await yard.clock.advance(60)

    assert await yard.due() == ["00:01:00", "00:02:00", "00:03:00"]
    assert await yard.told("missed") == []


async def test_times_that_a_clock_which_is_set_forward_leaps_over_are_missed(yard: Yard) -> None:
    await yard.apply(**MINUTELY)
    await yard.clock.advance(61)

    yard.clock.set(BEGIN + timedelta(minutes=61, seconds=30))
    await yard.clock.advance(40)

    (missed,) = await yard.told("missed")
    assert missed["count"] == 60
    assert await yard.due() == ["00:01:00", "01:02:00"]


async def test_times_of_many_triggers_are_each_fired_once(yard: Yard) -> None:
    for number in range(20):
        await yard.apply(f"t{number}", type="interval", rule=1, misfire="all")

    for _ in range(5):
        await yard.clock.advance(2.5)
        await yard.kill()
        await yard.clock.advance(1.25)
        await yard.begin()

    told = [(one["trigger"], one["due"]) for one in await yard.told("fired")]
    assert len(told) == len(set(told)) == 20 * 18
    assert len(await yard.runs()) == 20 * 18


async def test_a_rule_that_cannot_say_when_it_is_due_harms_no_other(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    def due(after: datetime) -> datetime:
        raise ZeroDivisionError(f"no time after {after}")

    bad = await yard.apply("bad", **MINUTELY)
    await yard.apply("good", **MINUTELY)
    monkeypatch.setattr(yard.service.lives[bad.metadata.uid].rule, "due", due)

    await yard.clock.advance(130)

    assert [one["trigger"] for one in await yard.told("fired")] == ["bad", "good", "good"]
    said = yard.service.problems[bad.metadata.uid]
    assert said.startswith("it cannot say when it is due: ZeroDivisionError: no time after 2021")


def test_what_is_not_remembered_any_more_does_not_count_as_new() -> None:
    past = Past()
    for second in range(KEYS_KEPT + 2):
        past.add(f"event {second}", BEGIN + timedelta(seconds=second))

    assert not past.has("event 1")
    assert not past.may_be_new(BEGIN + timedelta(seconds=1))
    assert past.may_be_new(BEGIN + timedelta(seconds=2))
    assert past.has("event 2")


# Pausing -------------------------------------------------------------------------------------


async def test_a_paused_trigger_does_not_fire_and_makes_nothing_up(yard: Yard) -> None:
    trigger = await yard.apply(**MINUTELY, misfire="all", paused=True)
    await yard.clock.advance(120)
    assert yard.service.next_time(trigger.metadata.uid) is None

    await yard.apply(**MINUTELY, misfire="all")
    await yard.clock.advance(60)

    assert await yard.due() == ["00:03:00"]


async def test_while_a_server_is_draining_nothing_fires(yard: Yard) -> None:
    await yard.apply(**MINUTELY)
    yard.engine.draining = True
    await yard.clock.advance(60)

    yard.engine.draining = False
    await yard.clock.advance(60)

    (missed,) = await yard.told("missed")
    assert "draining" in missed["reason"]
    assert await yard.due() == ["00:02:00"]


async def test_a_trigger_that_is_deleted_fires_no_more(yard: Yard) -> None:
    await yard.apply(**MINUTELY)
    await yard.engine.delete(TriggerRule, "t")

    await yard.clock.advance(120)

    assert await yard.told() == []
    assert yard.service.lives == {}


# What is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (
            {"type": "scedule", "rule": ["* * * * *"]},
            "spec.type: 'scedule' is no type of rules (did",
        ),
        ({"rule": {}}, "'rule' is empty"),
        ({"rule": {"eq": [1, 1]}, "action": {"target": "run"}}, "spec.action.target: 'run' is no"),
        (
            {"rule": {"eq": [1, 1]}, "action": {"target": "no.such_function"}},
            "spec.action.target: 'no.such_function' cannot be imported",
        ),
        (
            {"rule": {"eq": [1, 1]}, "action": {"target": "json.dumb"}},
            "spec.action.target: module 'json' has no function 'dumb' (did you mean 'dump'",
        ),
        (
            {"rule": {"eq": [1, 1]}, "action": {"target": "run_workflow"}},
            "spec.action.parameters.workflow: must be the name or the uid of a workflow",
        ),
        (
            {
                "rule": {"eq": [1, 1]},
                "action": {
                    "target": "run_workflow",
                    "parameters": {"workflow": "farm", "input": {"x": "{{ evnt.data }}"}},
                },
            },
            "spec.action.parameters.input.x: '{{ evnt.data }}' begins with 'evnt'",
        ),
        ({"rule": {"eq": [1, 1]}, "concurrency": "some"}, "spec.concurrency"),
    ],
)
async def test_what_cannot_be_understood_is_refused_with_its_path(
    yard: Yard, spec: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidResource) as caught:
        await yard.apply(**spec)

    assert said in str(caught.value)
    assert await yard.engine.list(TriggerRule) == []


async def test_all_that_is_at_fault_is_told_at_once(yard: Yard) -> None:
    with pytest.raises(InvalidResource) as caught:
        await yard.apply(rule={"eqq": [1, 2]}, action={"target": "runn"})

    assert {error["loc"][1] for error in caught.value.errors} == {"rule", "action"}
