"""A hundred thousand stored runs: finding the last ones, adding one, running one."""

from __future__ import annotations

import asyncio
import sqlite3
import statistics
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from functools import partial
from pathlib import Path

from flowdapt_sqlite.storage import SqliteStorage

from flowdapt.runs import Run, RunState
from flowdapt.storage import RunQuery
from tests.benchmarks.measuring import Figure, in_turns, seconds_of
from tests.benchmarks.servers import NOOP, app_dir, engine, run

RUNS = 100_000
WORKFLOWS = 10
LISTED = 10
TIMES = 50  #: how often something short is done for one time of it


async def measure(repeat: int) -> list[Figure]:
    """Fill a database through its own storage, and then ask it."""
    with app_dir() as folder:
        storage = SqliteStorage(app_dir=folder)
        await storage.start()
        filled = await seconds_of(lambda: fill(storage))
        figures = [
            *await _lists(storage, repeat),
            await _add_and_save(storage, folder, repeat),
        ]
        await storage.stop()
        figures.append(await _noop_run(folder, repeat))
    fact = {"filled_per_s": RUNS / filled}
    return [*figures, Figure("storage, runs stored", RUNS, unit="", facts=fact)]


async def fill(storage: SqliteStorage) -> None:
    """Store a hundred thousand runs that ended, of ten workflows."""
    for first in range(0, RUNS, 500):
        await asyncio.gather(
            *(_stored(storage, f"workflow-{i % WORKFLOWS}") for i in range(first, first + 500))
        )


async def _stored(storage: SqliteStorage, workflow: str) -> None:
    begun = Run(workflow=workflow).to(RunState.RUNNING)
    await storage.add_run(begun)
    await storage.save_run(begun.to(RunState.FINISHED), was=begun.state, result=b"1")


async def _lists(storage: SqliteStorage, repeat: int) -> list[Figure]:
    queries = {
        "of a workflow": RunQuery(workflow="workflow-3", limit=LISTED),
        "of none": RunQuery(workflow="workflow-x", limit=LISTED),
        "failed": RunQuery(states=(RunState.FAILED,), limit=LISTED),
    }
    figures = []
    for name, query in queries.items():
        each = await _each(partial(storage.list_runs, query), repeat)
        figures.append(Figure(f"storage, last {LISTED} {name}", each * 1e3, 5, unit="ms"))
    return figures


async def _each(work: Callable[[], Awaitable[object]], repeat: int) -> float:
    """Return the median of the seconds that one of many takes."""
    times = []
    for _ in range(repeat):
        begun = time.perf_counter()
        for _ in range(TIMES):
            await work()
        times.append((time.perf_counter() - begun) / TIMES)
    return statistics.median(times)


async def _add_and_save(storage: SqliteStorage, folder: Path, repeat: int) -> Figure:
    """Compare with two bare commits of the same size."""
    with closing(sqlite3.connect(folder / "floor.db", isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute("CREATE TABLE runs (uid INTEGER PRIMARY KEY, document BLOB)")
        document = b"x" * 400

        async def ours() -> None:
            for _ in range(TIMES):
                await _stored(storage, "workflow-3")

        def floor() -> None:
            for _ in range(TIMES):
                db.execute("INSERT INTO runs (document) VALUES (?)", (document,))
                db.execute(
                    "UPDATE runs SET document = ? WHERE uid = last_insert_rowid()", (document,)
                )

        pairs = await in_turns(ours, floor, repeat)
    each = 1e6 / TIMES
    facts = {"ours_us": pairs.ours_s * each, "bare_us": pairs.floor_s * each}
    return Figure("storage, add and save of bare", pairs.ratio, facts=facts)


async def _noop_run(folder: Path, repeat: int) -> Figure:
    """Compare a run beside all those stored with a run beside none."""
    async with engine(NOOP, folder=folder) as full, engine(NOOP) as empty:
        times = [
            [await _each(partial(run, e, "noop"), 1) for e in (full, empty)]
            for _ in range(repeat + 1)
        ][1:]
    ratio = statistics.median(ours / floor for ours, floor in times)
    facts = {
        "full_ms": statistics.median(t[0] for t in times) * 1e3,
        "empty_ms": statistics.median(t[1] for t in times) * 1e3,
    }
    return Figure(f"storage, run beside {RUNS:,}", ratio, 1.2, facts=facts)
