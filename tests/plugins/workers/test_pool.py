"""Threads that compute stages: who gets a place."""

from __future__ import annotations

import asyncio

import pytest
from flowdapt_workers.pool import Pool

pytestmark = pytest.mark.anyio


async def test_a_place_goes_to_the_highest_priority_and_then_to_who_came_first(
    anyio_backend: str,
) -> None:
    pool = Pool(1)
    await pool.take()
    order: list[str] = []

    async def one(name: str, priority: int) -> None:
        await pool.take(priority)
        order.append(name)
        pool.give()

    waiting = [
        asyncio.create_task(one(name, priority))
        for name, priority in (("a", 0), ("low", -1), ("high", 5), ("b", 0), ("gone", 9))
    ]
    await asyncio.sleep(0)
    waiting.pop().cancel()
    pool.give()
    await asyncio.wait_for(asyncio.gather(*waiting), 5)

    assert order == ["high", "a", "b", "low"]
    pool.shutdown()
