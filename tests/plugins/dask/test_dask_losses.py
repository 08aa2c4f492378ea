"""What becomes of runs when parts of a Dask cluster die."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from flowdapt_testing.desks import Desk, mapped_stage, until
from flowdapt_testing.desks import user_stage as stage

from flowdapt.runs import RunState
from tests import dask_clusters

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dask_clusters.DaskServers]:
    with dask_clusters.running(tmp_path_factory.mktemp("dask")) as servers:
        yield servers


@pytest.fixture
def servers(cluster: dask_clusters.DaskServers) -> dask_clusters.DaskServers:
    """The cluster, of which a test may kill anything."""
    cluster.restore(one={}, two={"resources": {"disk": 1}})
    return cluster


async def test_a_killed_process_is_named_with_the_signal(desk: Desk) -> None:
    desk.write("import os\ndef dies(): os.kill(os.getpid(), 9)\ndef fine(): return 1")

    stored = await desk.run(stage("deadly", "dies"))

    assert stored.run.failure is not None
    assert "stage 'deadly' lost its worker process" in stored.run.failure.message
    assert "killed by SIGKILL" in stored.run.failure.message
    assert await desk.result(stage("a", "fine")) == 1


async def test_of_a_chunk_whose_process_dies_only_the_element_at_fault_is_lost(desk: Desk) -> None:
    desk.write("import os\ndef each(x):\n    if x == 7: os._exit(3)\n    return x")

    stored = await desk.run(
        mapped_stage("each", "each", map_on="xs", chunk_size=5), xs=list(range(20))
    )

    assert stored.run.state is RunState.FINISHED
    assert stored.result == str([x for x in range(20) if x != 7]).replace(" ", "").encode()
    (record,) = await desk.engine.storage.list_stages(stored.run.uid)
    (failed,) = record.failures
    assert (failed.item, failed.type) == (7, "WorkerLost")


async def test_what_a_killed_worker_held_is_made_again(
    desk: Desk, servers: dask_clusters.DaskServers, tmp_path: Path
) -> None:
    desk.write(
        """
        import pathlib, threading, os
        def make(path):
            with open(pathlib.Path(path, "made"), "a") as file: file.write("x")
            return bytes(1_000_000)
        def wait(path):
            pathlib.Path(path, "waits").touch()
            while not pathlib.Path(path, "go").exists(): threading.Event().wait(0.01)
        def use(data, _): return len(data)
        """
    )
    stages = [
        stage("make", "make", resources={"disk": 0.5}),
        stage("wait", "wait"),
        stage("use", "use", "make", "wait"),
    ]
    run = await desk.begin(*stages, path=str(tmp_path))
    await until((tmp_path / "waits").exists)
    await until(lambda: desk.engine._walks[run.uid].records["make"].finished_at)
    held = servers.workers["two"]

    await asyncio.to_thread(held.kill)
    await asyncio.to_thread(servers.add, "three", resources={"disk": 1})
    (tmp_path / "go").touch()

    stored = await desk.ended(run)
    assert stored.result == b"1000000", stored.run.failure
    assert (tmp_path / "made").read_text() == "xx"


async def test_what_a_killed_worker_computed_is_computed_elsewhere(
    desk: Desk, servers: dask_clusters.DaskServers, tmp_path: Path
) -> None:
    desk.write(
        """
        import os, pathlib, threading
        def where(path):
            pathlib.Path(path, "pid").write_text(str(os.getpid()))
            if not pathlib.Path(path, "go").exists(): threading.Event().wait(60)
            return 1
        """
    )
    run = await desk.begin(stage("a", "where"), path=str(tmp_path))
    pid = tmp_path / "pid"
    await until(lambda: pid.exists() and pid.read_text())
    parent = psutil.Process(int(pid.read_text())).parents()[1].pid
    (worker,) = (w for w in servers.workers.values() if w.process.pid == parent)

    (tmp_path / "go").touch()
    await asyncio.to_thread(worker.kill)

    stored = await desk.ended(run)
    assert stored.result == b"1"
    (record,) = await desk.engine.storage.list_stages(stored.run.uid)
    assert record.attempts == 2


async def test_a_scheduler_that_comes_back_is_reached_again(
    desk: Desk, servers: dask_clusters.DaskServers
) -> None:
    assert await desk.result(stage("a", lambda: 1)) == 1
    port = int(servers.address.rpartition(":")[2])

    await asyncio.to_thread(servers.scheduler.kill)
    await until(lambda: "unavailable" in desk.executor.describe())
    run = await desk.begin(stage("a", lambda: 2))
    assert "is lost" in desk.executor.describe()["unavailable"]
    servers.scheduler = await asyncio.to_thread(dask_clusters.Server.start, "scheduler", port=port)
    await asyncio.to_thread(servers.add, "three")

    assert (await desk.ended(run)).result == b"2"


async def test_a_gateway_that_is_killed_is_replaced(desk: Desk) -> None:
    executor: Any = desk.executor
    link = executor._connection.link
    assert link is not None
    assert link._process is not None

    os.kill(link._process.pid, signal.SIGKILL)

    await until(lambda: executor._connection.link is not link)
    assert await desk.result(stage("a", lambda: 2)) == 2
