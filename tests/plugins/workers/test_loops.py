from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest
from flowdapt_workers.loops import Meter, MeteredLoop


@pytest.fixture
def loop() -> Iterator[MeteredLoop]:
    loop = MeteredLoop()
    yield loop
    loop.close()


def burn(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


async def metered(meter: Meter, *steps: float) -> float:
    meter.begin()

    async def work() -> float:
        for seconds in steps:
            await asyncio.sleep(0)
            burn(seconds)
        return meter.end()

    return await asyncio.create_task(work())


def test_each_is_told_what_its_own_steps_took(loop: MeteredLoop) -> None:
    async def both() -> tuple[float, float]:
        much, little = Meter(loop), Meter(loop)
        return await asyncio.gather(metered(much, 0.05, 0.05), metered(little, 0.01, 0.01))

    much, little = loop.run_until_complete(both())

    assert 0.1 <= much < 0.15
    assert 0.02 <= little < 0.07


def test_what_a_task_starts_counts_and_what_nobody_started_does_not(loop: MeteredLoop) -> None:
    async def whole(meter: Meter) -> float:
        meter.begin()
        await asyncio.gather(*(asyncio.create_task(asyncio.to_thread(burn, 0.02)) for _ in "ab"))
        asyncio.get_running_loop().call_later(0, burn, 0.04)
        await asyncio.gather(asyncio.sleep(0.01), *(metered_child() for _ in "ab"))
        return meter.end()

    async def metered_child() -> None:
        await asyncio.sleep(0)
        burn(0.03)

    took = loop.run_until_complete(whole(Meter(loop, 1.0)))

    assert 1.06 <= took < 1.15


def test_time_that_others_wait_is_not_counted(loop: MeteredLoop) -> None:
    async def waiting() -> float:
        meter = Meter(loop)
        meter.begin()
        await asyncio.sleep(0.05)
        return meter.end()

    async def beside() -> float:
        quiet = asyncio.create_task(waiting())
        await metered(Meter(loop), 0.1)
        return await quiet

    assert loop.run_until_complete(beside()) < 0.05
