"""Runs of one workflow at once."""

from __future__ import annotations

import asyncio

import pytest

from flowdapt.errors import Conflict
from flowdapt.runs import RunState

from .conftest import House, stage

pytestmark = pytest.mark.anyio


async def state(house: House, uid: object) -> RunState:
    return (await house.engine.find_run(str(uid))).state


async def test_another_run_is_refused_while_there_is_one(house: House) -> None:
    await house.apply(stage("wait"), concurrency="forbid")
    first = await house.begin()

    with pytest.raises(Conflict, match="has a run in progress, and its option 'concurrency' is"):
        await house.begin()
    house.go()
    await house.end(first)

    assert await house.result() == "waited"


async def test_of_many_at_once_one_is_accepted(house: House) -> None:
    await house.apply(stage("wait"), concurrency="forbid")

    begun = await asyncio.gather(*(house.begin() for _ in range(5)), return_exceptions=True)

    assert len([one for one in begun if not isinstance(one, BaseException)]) == 1
    house.go()


async def test_runs_wait_for_their_turn(house: House) -> None:
    await house.apply(stage("wait"), concurrency="queue")
    runs = [await house.begin(gate=f"go-{n}") for n in range(3)]
    await house.until(lambda: house.done == ["waiting"])
    assert [await state(house, run.uid) for run in runs] == ["running", "pending", "pending"]

    house.go("go-2")
    house.go("go-1")
    house.go("go-0")
    ended = [await house.end(run) for run in runs]

    assert all(one.run.state is RunState.FINISHED for one in ended)
    assert house.done == ["waiting", "waited"] * 3
    times = [one.run.finished_at for one in ended]
    assert times == sorted(times, key=lambda t: t.timestamp() if t else 0)


async def test_what_waits_can_be_cancelled_and_harms_no_turn(house: House) -> None:
    await house.apply(stage("wait"), concurrency="queue")
    first, second, third = [await house.begin() for _ in range(3)]
    await house.until(lambda: house.done == ["waiting"])

    assert (await house.engine.cancel(second.uid)).run.state is RunState.CANCELLED
    assert await state(house, third.uid) is RunState.PENDING
    house.go()

    assert (await house.end(third)).run.state is RunState.FINISHED
    assert (await house.end(first)).run.state is RunState.FINISHED
    assert house.done == ["waiting", "waited"] * 2


async def test_what_waits_keeps_its_turn_through_a_restart(house: House) -> None:
    await house.apply(stage("wait"), concurrency="queue")
    runs = [await house.begin() for _ in range(3)]
    await house.until(lambda: house.done == ["waiting"])

    await house.serve()
    await house.until(lambda: house.done == ["waiting"] * 2)
    fourth = await house.begin()
    assert [await state(house, run.uid) for run in (*runs, fourth)] == [
        "running",
        *["pending"] * 3,
    ]
    house.go()

    for run in (*runs, fourth):
        assert (await house.end(run)).run.state is RunState.FINISHED
    assert house.done == ["waiting", *["waiting", "waited"] * 4]


async def test_a_run_ends_the_one_before_it(house: House) -> None:
    await house.apply(stage("wait"), concurrency="replace")
    first = await house.begin()
    await house.until(lambda: house.done == ["waiting"])

    second = await house.begin()

    assert (await house.end(first)).run.state is RunState.CANCELLED
    await house.until(lambda: house.done == ["waiting"] * 2)
    house.go()
    assert (await house.end(second)).run.state is RunState.FINISHED
