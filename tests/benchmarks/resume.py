"""Ten thousand runs that a server left unfinished: until the next one goes on with all of them."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from uuid import uuid4

from flowdapt_sqlite.storage import SqliteStorage

from flowdapt.runs import RunState, run_name
from flowdapt.storage import RunQuery
from tests.benchmarks.measuring import Figure
from tests.benchmarks.servers import app_dir, engine, stage, workflow

RUNS = 10_000
UNFINISHED = [state for state in RunState if state is not RunState.FINISHED]
TWO = workflow("two", stage("first", "noop"), stage("second", "step", "first"))


async def measure(repeat: int) -> list[Figure]:
    """Leave runs behind whose first stage is done, and start a server."""
    del repeat  # one turn has ten thousand of them
    with app_dir() as folder:
        await leave(folder)
        begun = time.perf_counter()
        async with engine(folder=folder) as under_test:
            resumed = time.perf_counter() - begun
            await under_test.drained()
            ended = time.perf_counter() - begun
            left = await under_test.storage.list_runs(RunQuery(states=UNFINISHED))
    if left:
        raise RuntimeError(f"{len(left)} runs did not end")
    facts = {"runs": RUNS, "all_ended_s": ended}
    return [Figure("resume, all in progress after", resumed, 10, unit="s", facts=facts)]


async def leave(folder: Path) -> None:
    """Store runs as a killed server leaves them."""
    async with engine(TWO, folder=folder) as before:
        begun = await before.submit("two")
        await before.wait(begun.uid)
        stages = {record.stage: record for record in await before.stages(begun.uid)}
    storage = SqliteStorage(app_dir=folder)
    await storage.start()

    async def one() -> None:
        run = begun.model_copy(update={"uid": uuid4(), "name": run_name()})
        await storage.add_run(run)
        await storage.save_stage(run.uid, stages["first"])

    for _ in range(0, RUNS, 500):
        await asyncio.gather(*(one() for _ in range(500)))
    await storage.stop()
