"""Whatever is done with a trigger, each occasion is on record once: as fired for, or as missed."""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta
from typing import Any

import pytest
from flowdapt_testing.clocks import settled

from flowdapt.events import Event

from . import doings
from .conftest import Yard
from .doings import GREW, PRINT, calls, runs, slow_workflow

pytestmark = pytest.mark.anyio

STEPS = 40
SEEDS = range(10)


def release() -> None:
    """Let go on what waits at the gate, and nothing that comes later."""
    doings.GATES.pop("a", asyncio.Event()).set()


async def finish(yard: Yard) -> None:
    """Have all come to its end."""
    for _ in range(30):
        release()
        await yard.clock.advance(1)
    doings.GATES.setdefault("a", asyncio.Event()).set()
    for _ in range(50):
        await settled()


async def on_record(yard: Yard) -> int:
    """Return how many occasions are on record, if none is twice."""
    fired = [one["key"] for one in await yard.told("fired")]
    missed = await yard.told("missed")
    keys = fired + [one["key"] for one in missed if one["key"]]
    assert len(keys) == len(set(keys))
    counts: list[int] = [one["count"] for one in missed if not one["key"]]
    return len(keys) + sum(counts)


@pytest.mark.parametrize("seed", SEEDS)
async def test_each_event_is_accounted_for(yard: Yard, seed: int) -> None:
    chance = random.Random(seed)
    await slow_workflow(yard)
    action, sent = chance.choice([calls("held"), runs("slow"), PRINT]), 0

    async def change() -> None:
        policy = chance.choice(["allow", "forbid", "queue", "replace"])
        await yard.apply(rule=GREW, action=action, concurrency=policy)

    await change()
    for step in range(STEPS):
        dice = chance.random()
        if dice < 0.6:
            event = Event(type="grown", data={"n": step}, channel="tests", source="tests")
            await yard.engine.storage.append_event(event)
            yard.engine.events.publish(event)
            sent += 1
        elif dice < 0.8:
            await change()
        elif dice < 0.95:
            release()
            await settled()
        else:
            await yard.restart()
    await finish(yard)

    assert await on_record(yard) == sent


@pytest.mark.parametrize("seed", SEEDS)
async def test_each_time_is_accounted_for(yard: Yard, seed: int) -> None:
    chance = random.Random(seed)
    action: dict[str, Any] = chance.choice([calls("held"), PRINT])

    async def change() -> None:
        policy = chance.choice(["skip", "once", "all"])
        await yard.apply(type="interval", rule="1s", action=action, misfire=policy)

    await change()
    begin = yard.clock.now()
    for _ in range(STEPS):
        dice = chance.random()
        if dice < 0.5:
            await yard.clock.advance(chance.choice([0.5, 1, 2]))
        elif dice < 0.7:
            await change()
        elif dice < 0.8:
            release()
            await settled()
        elif dice < 0.95:
            forward = timedelta(seconds=chance.choice([10, 100]))
            yard.clock.set(yard.clock.now() + forward)
        else:
            await yard.service.notes.write()  # as it does each second
            await yard.restart()
    await finish(yard)

    seconds = (yard.clock.now() - begin) // timedelta(seconds=1)
    assert await on_record(yard) == seconds
