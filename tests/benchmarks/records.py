"""A million stored stages: listing those of a run, listing runs, and running one."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from uuid import UUID, uuid4

from flowdapt_sqlite.storage import SqliteStorage

from flowdapt.runs import Run, RunState, StageRecord
from flowdapt.storage import RunQuery
from tests.benchmarks.measuring import Figure
from tests.benchmarks.servers import NOOP, app_dir, engine, run

FEW, MANY, STAGES = 1_000, 1_000_000, 10
TIMES = 50
TARGET = 1.2


async def measure(repeat: int) -> list[Figure]:
    """Compare a database with a million stages and one with a thousand, in turns."""
    with app_dir() as small, app_dir() as large:
        last = [await fill(folder, count) for folder, count in ((small, FEW), (large, MANY))]
        async with engine(NOOP, folder=small) as few, engine(NOOP, folder=large) as many:
            asked: dict[str, list[Callable[[], Awaitable[object]]]] = {
                "stages of a run": [
                    partial(e.storage.list_stages, uid)
                    for e, uid in zip((few, many), last, strict=True)
                ],
                "last 100 runs": [
                    partial(e.storage.list_runs, RunQuery(limit=100)) for e in (few, many)
                ],
                "last 10 of a workflow": [
                    partial(e.storage.list_runs, RunQuery(workflow="w3", limit=10))
                    for e in (few, many)
                ],
                "a run": [partial(run, e, "noop") for e in (few, many)],
            }
            return [
                await _compared(f"records, {name}", *two, repeat=repeat)
                for name, two in asked.items()
            ]


async def fill(folder: Path, count: int) -> UUID:
    """Store runs with so many stages in all; return the uid of the last."""
    storage = SqliteStorage(app_dir=folder)
    await storage.start()
    record = StageRecord(stage="", state=RunState.FINISHED, result=b"x" * 50)
    records = [record.model_copy(update={"stage": f"stage-{n}"}) for n in range(STAGES)]

    async def one(number: int) -> UUID:
        begun = Run(workflow=f"w{number % 10}").to(RunState.RUNNING)
        await storage.add_run(begun)
        for one_record in records[:-1]:
            await storage.save_stage(begun.uid, one_record)
        end = begun.to(RunState.FINISHED)
        await storage.save_run(end, was=begun.state, result=b"1", last=records[-1])
        return begun.uid

    last = uuid4()
    for first in range(0, count // STAGES, 100):
        last = (await asyncio.gather(*(one(n) for n in range(first, first + 100))))[-1]
    await storage.stop()
    return last


async def _compared(
    name: str,
    few: Callable[[], Awaitable[object]],
    many: Callable[[], Awaitable[object]],
    *,
    repeat: int,
) -> Figure:
    pairs = [(await _each(few), await _each(many)) for _ in range(repeat + 1)][1:]
    ratio = statistics.median(large / small for small, large in pairs)
    facts = {
        "few_us": statistics.median(small for small, _ in pairs) * 1e6,
        "many_us": statistics.median(large for _, large in pairs) * 1e6,
    }
    return Figure(name, ratio, TARGET, facts=facts)


async def _each(work: Callable[[], Awaitable[object]]) -> float:
    begun = time.perf_counter()
    for _ in range(TIMES):
        await work()
    return (time.perf_counter() - begun) / TIMES
