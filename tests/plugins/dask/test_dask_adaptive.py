"""A cluster that starts workers where there is something to compute, and ends them afterwards."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from flowdapt_dask.executor import DaskExecutor
from flowdapt_testing.desks import Desk, mapped_stage
from flowdapt_testing.desks import user_stage as stage

pytestmark = pytest.mark.anyio


async def workers(desk: Desk, condition: range) -> None:
    """Wait until there are so many workers."""
    async with asyncio.timeout(60):
        while len(await desk.executor.nodes()) not in condition:  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def test_workers_come_for_what_waits_and_go_when_nothing_does(tmp_path: Path) -> None:
    def each(x: int) -> int:
        time.sleep(0.25)
        return os.getppid()

    command = [sys.executable, "-m", "tests.dask_adaptive"]
    with subprocess.Popen(command, stdin=-1, stdout=-1, text=True) as cluster:
        assert cluster.stdin
        assert cluster.stdout
        address = await asyncio.to_thread(cluster.stdout.readline)
        desk = await Desk.over(
            DaskExecutor(cluster_address=address.strip(), adaptive=True), tmp_path
        )
        try:
            assert not await desk.executor.nodes()

            of_all = mapped_stage("each", each, map_on="xs")
            pids = await desk.result(of_all, xs=[*range(40)])
            await workers(desk, range(1))
            again = await desk.result(stage("again", lambda: 5))
        finally:
            await desk.engine.stop()
            cluster.stdin.close()

    assert len(set(pids)) == 2
    assert again == 5
