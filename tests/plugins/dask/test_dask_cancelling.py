"""Runs that are cancelled stop, and nothing else does."""

from __future__ import annotations

import time
from pathlib import Path

import psutil
import pytest
from flowdapt_testing.desks import Desk, mapped_stage, until
from flowdapt_testing.desks import user_stage as stage

from flowdapt.runs import RunState

pytestmark = pytest.mark.anyio

WAITS = """
import asyncio, os, pathlib, threading, time
def note(path): pathlib.Path(path, str(os.getpid())).touch()
def waits(path):
    note(path)
    threading.Event().wait(60)
def is_stubborn(path):
    note(path)
    while True:
        try:
            time.sleep(60)
        except BaseException:
            pass
async def awaits(path):
    note(path)
    await asyncio.sleep(60)
def each(x, path):
    note(path)
    time.sleep(60)
"""


@pytest.mark.parametrize("target", ["waits", "is_stubborn", "awaits"])
async def test_a_cancelled_stage_stops_within_a_second(
    desk: Desk, tmp_path: Path, target: str
) -> None:
    desk.write(WAITS)
    (noted := tmp_path / "noted").mkdir()
    run = await desk.begin(stage("a", target), stage("b", lambda _: 1, "a"), path=str(noted))
    await until(lambda: list(noted.iterdir()))
    (pid,) = (int(file.name) for file in noted.iterdir())

    begun = time.perf_counter()
    stored = await desk.engine.cancel(run.uid)

    assert stored.run.state is RunState.CANCELLED
    if target != "awaits":  # its process goes on with other things
        await until(lambda: not psutil.pid_exists(pid))
    assert time.perf_counter() - begun < 1.5
    assert await desk.result(stage("a", lambda: 1)) == 1


async def test_of_a_cancelled_mapped_stage_nothing_more_starts(desk: Desk, tmp_path: Path) -> None:
    desk.write(WAITS)
    (noted := tmp_path / "noted").mkdir()
    run = await desk.begin(
        mapped_stage("a", "each", map_on="xs", chunk_size=1), xs=list(range(50)), path=str(noted)
    )
    await until(lambda: len(list(noted.iterdir())) == 2)
    pids = {int(file.name) for file in noted.iterdir()}

    await desk.engine.cancel(run.uid)

    await until(lambda: not any(map(psutil.pid_exists, pids)))
    assert await desk.result(stage("a", lambda: 1)) == 1
    assert {int(file.name) for file in noted.iterdir()} == pids
