"""Triggers that go by what happens: runs that end, and whatever else is told."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from flowdapt_testing.clocks import settled
from flowdapt_testing.desks import until

from flowdapt.events import RUN_FINISHED, Event
from flowdapt.runs import RunState

from .conftest import Yard
from .doings import CALLS, GATES, held, runs, tell, workflow

pytestmark = pytest.mark.anyio


def noted(word: str, event: Any, database: Any) -> None:
    """Note that an action called this."""
    CALLS.append((word, event["type"], type(database).__name__))


async def hangs() -> None:
    """Never return."""
    await asyncio.Event().wait()


def after(name: str, state: str = "finished") -> dict[str, Any]:
    """Return the condition that a run of a workflow ended so."""
    return {
        "and": [
            {"eq": [{"var": "type"}, RUN_FINISHED]},
            {"eq": [{"var": "data.workflow"}, name]},
            {"eq": [{"var": "data.state"}, state]},
        ]
    }


# What fires ----------------------------------------------------------------------------------


async def test_the_end_of_a_run_starts_another_with_its_result(yard: Yard) -> None:
    await workflow(yard, "barn")
    given = {"n": "{{ event.data.result.n }}", "by": "{{ trigger }}"}
    await yard.apply(rule=after("farm"), action=runs("barn", input=given, namespace="shed"))

    first = await yard.engine.submit("farm", {"n": 7})
    await yard.engine.wait(first.uid)

    one, other = await yard.runs()
    assert (one.workflow, other.workflow) == ("farm", "barn")
    assert (other.input, other.namespace, other.source) == ({"n": 7, "by": "t"}, "shed", "trigger")
    (told,) = await yard.told("fired")
    assert told["run"] == str(other.uid)


async def test_a_rule_that_cannot_be_decided_harms_no_other(yard: Yard) -> None:
    bad = await yard.apply("bad", rule={"gt": [{"var": "data.n"}, 5]})
    await yard.apply("good", rule={"eq": [{"var": "type"}, "grown"]})

    await tell(yard, "grown", n="many")

    assert [one["trigger"] for one in await yard.told("fired")] == ["good"]
    assert "TypeError" in yard.service.lives[bad.metadata.uid].error


async def test_a_trigger_waits_until_it_is_quiet(yard: Yard) -> None:
    await yard.apply(
        rule={"eq": [{"var": "type"}, "grown"]},
        debounce="30s",
        action=runs("farm", input={"n": "{{ event.data.n }}"}),
    )
    for n in range(3):
        await tell(yard, "grown", n=n)
        await yard.clock.advance(20)
    assert await yard.runs() == []

    await yard.clock.advance(20)

    assert [run.input for run in await yard.runs()] == [{"n": 2}]


async def test_several_events_together_fire_once(yard: Yard) -> None:
    await workflow(yard, "barn")
    await yard.apply(
        rule={"all": [after("farm"), after("barn")]}, options={"within": "1h"}, action=runs("farm")
    )

    for name in ("farm", "farm", "barn"):
        await yard.engine.wait((await yard.engine.submit(name, {"once": True})).uid)
        await settled()

    assert [run.source for run in await yard.runs()] == ["api", "api", "api", "trigger"]


async def test_a_workflow_that_sets_itself_off_is_stopped(yard: Yard) -> None:
    trigger = await yard.apply(rule=after("farm"))

    await yard.engine.submit("farm")
    await yard.engine.drained()
    await settled()
    await yard.engine.drained()

    assert len(await yard.runs()) == 17
    (failed,) = await yard.told("failed")
    assert failed["error"].startswith(
        "16 firings follow from one another (... -> t -> t -> t -> t)"
    )
    assert yard.service.lives[trigger.metadata.uid].error == failed["error"]


async def test_an_event_can_ask_for_a_run(yard: Yard) -> None:
    data = {"identifier": "farm", "payload": {"n": 1}}
    yard.engine.events.publish(Event(type="com.event.workflow.run_workflow", data=data))

    assert [(run.source, run.input) for run in await yard.runs()] == [("trigger", {"n": 1})]


# What happened while nobody was there --------------------------------------------------------


async def test_events_that_a_killed_server_did_not_see_to_fire_once(idle: Yard) -> None:
    await idle.begin()
    await idle.apply(rule={"eq": [{"var": "type"}, "grown"]})
    await tell(idle, "grown", n=1)

    await idle.kill()
    await tell(idle, "grown", n=2)
    await idle.begin()
    await settled()

    assert len(await idle.runs()) == 2


async def test_what_happened_before_a_trigger_was_applied_does_not_count(idle: Yard) -> None:
    await idle.begin()
    await tell(idle, "grown", n=1)
    idle.clock.set(idle.clock.now().replace(year=2090))
    await idle.apply(rule={"eq": [{"var": "type"}, "grown"]})

    await idle.kill()
    await idle.begin()

    assert await idle.runs() == []


# Runs of earlier firings ---------------------------------------------------------------------


@pytest.fixture
async def slow(yard: Yard) -> Yard:
    """A yard with a workflow that ends when it may."""
    await workflow(yard, "slow", f"{held.__module__}.held")
    return yard


async def grow(yard: Yard, concurrency: str) -> None:
    """Have a trigger fire twice."""
    await yard.apply(
        rule={"eq": [{"var": "type"}, "grown"]}, concurrency=concurrency, action=runs("slow")
    )
    for n in range(2):
        await tell(yard, "grown", n=n)


async def test_runs_may_be_in_progress_side_by_side(slow: Yard) -> None:
    await grow(slow, "allow")

    assert [run.state for run in await slow.runs()] == [RunState.RUNNING] * 2
    GATES["a"].set()


async def test_while_a_run_is_in_progress_none_begins_where_that_is_forbidden(slow: Yard) -> None:
    await grow(slow, "forbid")
    assert len(await slow.runs()) == 1
    (missed,) = await slow.told("missed")
    assert missed["reason"] == "the run of an earlier firing is in progress"

    GATES["a"].set()
    await settled()
    await tell(slow, "grown", n=3)

    assert len(await slow.runs()) == 2


async def test_a_run_waits_for_the_end_of_the_one_before(slow: Yard) -> None:
    await grow(slow, "queue")
    assert len(await slow.runs()) == 1

    GATES["a"].set()
    await settled()

    assert [run.state for run in await slow.runs()] == [RunState.FINISHED] * 2


async def test_a_run_takes_the_place_of_the_one_before(slow: Yard) -> None:
    await grow(slow, "replace")
    await settled()

    assert [run.state for run in await slow.runs()] == [RunState.CANCELLED, RunState.RUNNING]
    GATES["a"].set()


# Actions -------------------------------------------------------------------------------------


async def test_a_workflow_that_is_not_there_is_told_when_it_fires(
    yard: Yard, caplog: pytest.LogCaptureFixture
) -> None:
    await yard.apply(rule={"eq": [{"var": "type"}, "grown"]}, action=runs("later"))
    assert "trigger 't' runs workflow 'later', which is not there" in caplog.text

    await tell(yard, "grown")
    await workflow(yard, "later")
    await tell(yard, "grown")

    assert [one["error"] for one in await yard.told("failed")] == ["no workflow named 'later'"]
    assert [run.workflow for run in await yard.runs()] == ["later"]


async def test_a_function_is_called_with_what_it_takes(yard: Yard) -> None:
    await yard.apply(
        rule={"eq": [{"var": "type"}, "grown"]},
        action={
            "target": f"{__name__}.noted",
            "parameters": {"word": "{{ event.data.n }}", "x": 1},
        },
    )

    await tell(yard, "grown", n=3)
    await until(lambda: CALLS)

    assert CALLS == [(3, "grown", "MemoryStorage")]


async def test_an_action_that_hangs_is_given_up_and_the_next_is_done(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowdapt_triggers.lanes.ACTION_SECONDS", 0.01)
    trigger = await yard.apply(
        rule={"eq": [{"var": "type"}, "grown"]}, action={"target": f"{__name__}.hangs"}
    )

    for _ in range(2):
        await tell(yard, "grown")
    await until(lambda: yard.service.lives[trigger.metadata.uid].tally.failed == 2)

    assert {one["error"] for one in await yard.told("failed")} == {
        "the action took longer than 0 s"
    }


async def test_an_event_is_printed(yard: Yard, capsys: pytest.CaptureFixture[str]) -> None:
    await yard.apply(
        rule={"eq": [{"var": "type"}, "grown"]},
        action={"target": "print_event", "parameters": {"n": "{{ event.data.n }}"}},
    )

    await tell(yard, "grown", n=3)

    printed = capsys.readouterr().out
    assert '"type":"grown"' in printed
    assert '"n":3' in printed
