"""What waits for its turn: nothing of it is lost in silence, and who asked has an answer."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import pytest
from flowdapt_testing.clocks import settled
from flowdapt_triggers.outcomes import NotFired, Outcome
from flowdapt_triggers.resource import TriggerRule

from flowdapt.errors import Draining, StorageError
from flowdapt.triggers import Occasion

from . import doings
from .conftest import Yard
from .doings import CALLS, GATES, GREW, PRINT, calls, runs, slow_workflow, tell, workflow

pytestmark = pytest.mark.anyio

HOOK: dict[str, Any] = {"type": "webhook", "rule": {"open": True}}


async def asked(yard: Yard, uid: UUID, *keys: str) -> list[asyncio.Task[Outcome]]:
    """Have a trigger fire for whoever waits for it."""
    waiting = [asyncio.create_task(yard.service.fire(uid, Occasion(key))) for key in keys]
    await settled()
    return waiting


async def counted(yard: Yard) -> tuple[int, int]:
    """Return how often triggers fired, and how much they missed."""
    missed = [one["count"] for one in await yard.told("missed")]
    return len(await yard.told("fired")), sum(missed)


# Whoever asks --------------------------------------------------------------------------------


async def test_what_is_refused_while_the_server_drains_can_be_asked_for_again(yard: Yard) -> None:
    made = await yard.apply(**HOOK)
    call = Occasion("call", yard.clock.now())
    yard.engine.draining = True
    with pytest.raises(Draining):
        await yard.service.fire(made.metadata.uid, call)

    yard.engine.draining = False
    outcome = await yard.service.fire(made.metadata.uid, call)

    assert outcome.run is not None
    assert await yard.told("missed") == []


async def test_what_failed_to_begin_can_be_asked_for_again_also_after_a_restart(
    yard: Yard,
) -> None:
    made = await yard.apply(**HOOK, action=runs("later"))
    call = Occasion("call", yard.clock.now())

    failed = await yard.service.fire(made.metadata.uid, call)
    await yard.restart()
    await workflow(yard, "later")
    again = await yard.service.fire(made.metadata.uid, call)

    assert (failed.failed, failed.why) == (True, "no workflow named 'later'")
    assert again.run is not None


async def test_the_same_call_has_the_first_run_also_after_very_many_others(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowdapt_triggers.history.KEYS_KEPT", 3)
    made = await yard.apply(**HOOK)
    uid = made.metadata.uid
    first = await yard.service.fire(uid, Occasion("first"))
    for number in range(5):
        await yard.service.fire(uid, Occasion(str(number)))

    again = await yard.service.fire(uid, Occasion("first"))

    assert again.run == (await yard.engine.find_run(first.run.uid) if first.run else None)
    assert len(await yard.runs()) == 6


async def test_each_call_is_answered_with_what_came_of_itself(yard: Yard) -> None:
    await slow_workflow(yard)
    made = await yard.apply(**HOOK, action=runs("slow"), concurrency="forbid")
    uid = made.metadata.uid

    first = await yard.service.fire(uid, Occasion("1"))
    held = await yard.service.fire(uid, Occasion("2"))
    GATES["a"].set()
    await settled()
    bad = await yard.service.fire(uid, Occasion("3", input=["no object"]))  # type: ignore[arg-type]

    assert first.run
    assert (held.why, held.failed) == ("the run of an earlier firing is in progress", False)
    assert bad.failed


async def test_who_waits_is_told_when_the_trigger_is_deleted(yard: Yard) -> None:
    made = await yard.apply(**HOOK, action=calls("held"))
    done, waiting = await asked(yard, made.metadata.uid, "1", "2")

    await yard.engine.delete(TriggerRule, "t")
    await settled()

    with pytest.raises(NotFired, match="try again"):
        await waiting
    GATES["a"].set()
    assert await done == Outcome()
    assert await yard.told("missed") == []


async def test_who_waits_is_told_when_the_server_stops(yard: Yard) -> None:
    made = await yard.apply(**HOOK, action=calls("held"))
    waiting = await asked(yard, made.metadata.uid, "1", "2")

    await yard.service.stop()

    for one in waiting:
        with pytest.raises(NotFired, match="the server stops"):
            await one


async def test_who_waits_behind_too_many_is_told(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowdapt_triggers.lanes.MOST_WAITING", 2)
    made = await yard.apply(**HOOK, action=calls("held"))
    waiting = await asked(yard, made.metadata.uid, "1")
    waiting += await asked(yard, made.metadata.uid, "2", "3", "4")

    with pytest.raises(NotFired, match="too many calls wait"):
        await waiting[1]

    GATES["a"].set()
    assert [await waiting[number] for number in (0, 2, 3)] == [Outcome()] * 3


# Triggers that are changed -------------------------------------------------------------------


async def test_what_waits_is_seen_to_by_the_trigger_as_it_was_changed(yard: Yard) -> None:
    await yard.apply(rule=GREW, action=calls("held"))
    for number in range(5):
        await tell(yard, n=number)

    await yard.apply(rule=GREW, action=calls("held", name="b"), misfire="once")
    for gate in ("a", "b"):
        GATES.setdefault(gate, asyncio.Event()).set()

    assert await counted(yard) == (5, 0)
    assert CALLS == ["a", "b", "b", "b", "b"]


async def test_what_waits_for_another_rule_is_on_record_as_missed(yard: Yard) -> None:
    await yard.apply(rule=GREW, action=calls("held"))
    for number in range(5):
        await tell(yard, n=number)

    await yard.apply(rule={"eq": [{"var": "type"}, "shrank"]}, action=calls("held"))
    GATES["a"].set()

    assert await counted(yard) == (1, 4)
    (missed,) = await yard.told("missed")
    assert missed["reason"] == "the trigger was paused, changed or deleted"


@pytest.mark.parametrize("change", ["pause", "delete"])
async def test_a_run_that_waits_for_another_one_is_not_begun_once_that_is_not_wanted(
    yard: Yard, change: str
) -> None:
    await slow_workflow(yard)
    spec: dict[str, Any] = {"rule": GREW, "action": runs("slow"), "concurrency": "queue"}
    await yard.apply(**spec)
    for number in range(2):
        await tell(yard, n=number)

    if change == "pause":
        await yard.apply(**spec, paused=True)
    else:
        await yard.engine.delete(TriggerRule, "t")
    GATES["a"].set()

    assert len(await yard.runs()) == 1
    assert await counted(yard) == (1, 1)


async def test_runs_that_a_trigger_began_before_it_was_changed_count(yard: Yard) -> None:
    await slow_workflow(yard)
    spec: dict[str, Any] = {"rule": GREW, "action": runs("slow")}
    await yard.apply(**spec)
    await tell(yard)

    await yard.apply(**spec, concurrency="forbid")
    await tell(yard)

    assert len(await yard.runs()) == 1
    GATES["a"].set()


async def test_runs_that_have_ended_are_not_remembered_for_ever(yard: Yard) -> None:
    made = await yard.apply(rule=GREW)
    for _ in range(100):
        await tell(yard)
    await yard.engine.drained()

    assert len(await yard.runs()) == 100
    assert len(yard.service.lives[made.metadata.uid].runs) <= 32


async def test_a_queue_stays_one_when_its_trigger_is_changed(yard: Yard) -> None:
    await slow_workflow(yard)
    spec: dict[str, Any] = {"rule": GREW, "action": runs("slow"), "concurrency": "queue"}
    await yard.apply(**spec)
    for _ in range(2):
        await tell(yard)

    await yard.apply(**spec, misfire="once")
    await tell(yard)
    assert len(await yard.runs()) == 1
    GATES["a"].set()
    await settled()

    assert len(await yard.runs()) == 3


async def test_what_is_not_quiet_yet_is_not_lost_by_a_change(yard: Yard) -> None:
    spec: dict[str, Any] = {"rule": GREW, "debounce": "30s", "action": PRINT}
    await yard.apply(**spec)
    await tell(yard)

    await yard.apply(**spec, misfire="once")
    await yard.clock.advance(31)
    await tell(yard)
    await yard.apply(**spec, paused=True)

    assert await counted(yard) == (1, 1)


async def test_times_that_are_being_made_up_go_on_after_a_change(idle: Yard) -> None:
    spec: dict[str, Any] = {
        "type": "interval",
        "rule": "10s",
        "misfire": "all",
        "action": calls("held"),
    }
    await idle.apply(**spec)
    await idle.clock.advance(1000)
    await idle.begin()

    await idle.apply(**spec, concurrency="forbid")
    GATES["a"].set()
    await settled()

    assert await counted(idle) == (100, 0)


async def test_counts_go_on_when_a_trigger_is_paused_and_resumed(yard: Yard) -> None:
    made = await yard.apply(rule=GREW, action=PRINT)
    await tell(yard)

    await yard.apply(rule=GREW, action=PRINT, paused=True)
    await yard.apply(rule=GREW, action=PRINT)
    await tell(yard)

    assert yard.service.lives[made.metadata.uid].tally.fired == 2


async def test_a_trigger_that_cannot_work_any_more_can_be_paused(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec: dict[str, Any] = {"rule": GREW, "action": calls("held")}
    await yard.apply(**spec)
    monkeypatch.delattr(doings, "held")

    paused = await yard.apply(**spec, paused=True)

    assert paused.spec.paused


# Faults --------------------------------------------------------------------------------------


async def test_while_a_server_drains_no_action_is_done(
    yard: Yard, capsys: pytest.CaptureFixture[str]
) -> None:
    await yard.apply(type="interval", rule="10s", action=PRINT)
    yard.engine.draining = True

    await yard.clock.advance(11)

    assert await counted(yard) == (0, 1)
    assert capsys.readouterr().out == ""


async def test_a_time_is_not_lost_where_the_storage_fails_for_a_moment(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    await yard.apply(type="interval", rule="10s")

    async def full(*_: object, **__: object) -> None:
        raise StorageError("the disk is full")

    with monkeypatch.context() as patched:
        for name in ("add_run", "append_event"):
            patched.setattr(yard.engine.storage, name, full)
        await yard.clock.advance(11)
    await yard.clock.advance(10)

    assert await yard.due() == ["00:00:10", "00:00:20"]


async def test_what_the_storage_never_takes_is_on_record_as_failed(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    await yard.apply(type="once", rule="2021-04-05T00:00:10")

    async def full(*_: object, **__: object) -> None:
        raise StorageError("it is too long")

    monkeypatch.setattr(yard.engine.storage, "add_run", full)
    await yard.clock.advance(60)

    assert [one["error"] for one in await yard.told("failed")] == ["it is too long"]


async def test_events_that_were_too_many_do_not_fire_after_a_restart(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowdapt_triggers.lanes.MOST_WAITING", 10)
    await yard.apply(rule=GREW, action=calls("held"))
    for number in range(30):
        await tell(yard, n=number)
    GATES["a"].set()
    assert await counted(yard) == (11, 19)

    await yard.restart()

    assert await counted(yard) == (11, 19)


async def test_a_server_stops_though_an_action_does_not(
    yard: Yard, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("flowdapt_triggers.service.STOP_SECONDS", 0.01)
    await yard.apply(rule=GREW, action=calls("stubborn"))
    await tell(yard)

    await yard.service.stop()

    assert CALLS == ["stubborn", "cancelled"]
    assert "trigger t does not end" in caplog.text
    GATES["a"].set()
    await settled()


async def test_once_the_service_is_stopped_nothing_fires(idle: Yard) -> None:
    await idle.apply(
        type="interval", rule="10s", misfire="all", action=calls("held", name="{{ time }}")
    )
    await idle.apply("quiet", rule=GREW, debounce="30s", action=PRINT)
    await idle.clock.advance(1000)
    await idle.begin()
    await tell(idle)

    await idle.service.stop()
    await idle.clock.advance(60)

    assert len(CALLS) == 1
    assert [one["trigger"] for one in await idle.told("fired")] == ["t"]
