"""What happens on a Dask cluster whose workers come, go and die."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from flowdapt_dask.executor import DaskExecutor
from flowdapt_testing.desks import Desk, mapped_stage, until
from flowdapt_testing.desks import user_stage as stage
from flowdapt_workers import remote

from flowdapt.errors import ServerError
from flowdapt.executors import Host
from flowdapt.runs import RunState
from tests import dask_clusters

pytestmark = pytest.mark.anyio

LARGE = 300_000  #: bytes, more than what travels in messages


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[dask_clusters.DaskServers]:
    """A cluster for one test, which may break it."""
    folder = tmp_path / "cluster"
    folder.mkdir()
    with dask_clusters.running(folder, "barn") as servers:
        servers.add("shed", resources={"field": 1})
        yield servers


@pytest.fixture
async def desk(servers: dask_clusters.DaskServers, tmp_path: Path) -> AsyncIterator[Desk]:
    desk = await Desk.over(DaskExecutor(cluster_address=servers.address, elastic=True), tmp_path)
    yield desk
    await desk.engine.stop()


def large() -> bytes:
    return bytes(LARGE)


async def waiting_for(desk: Desk, run: Any) -> str:
    """Return what the only stage of a run waits for, once it does."""
    async with asyncio.timeout(30):
        while not (found := [s.waiting for s in await desk.engine.stages(run.uid) if s.waiting]):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return str(found[0])


async def test_workers_are_nodes_and_more_may_join(
    desk: Desk, servers: dask_clusters.DaskServers
) -> None:
    nodes = {node.name: node.resources for node in await desk.executor.nodes()}
    assert {name: (has["cpus"], has.get("field")) for name, has in nodes.items()} == {
        "barn": (1, None),
        "shed": (1, 1),
    }

    run = await desk.begin(stage("a", lambda: 7, resources={"late": 1}))
    said = await waiting_for(desk, run)
    servers.add("late", resources={"late": 1})

    assert said == "no node has 1 late; the most that one has is 0"
    assert (await asyncio.wait_for(desk.engine.wait(run.uid), 30)).result == b"7"


async def test_what_was_lost_with_a_worker_is_made_again_and_the_run_goes_on(
    desk: Desk, servers: dask_clusters.DaskServers, tmp_path: Path
) -> None:
    desk.write(f"""
        import os, time
        def make(made):
            with open(made, "a") as file: file.write("x")
            return bytes({LARGE})
        def gate(go):
            while not os.path.exists(go): time.sleep(0.01)
        def count(block, _): return len(block)
    """)
    made, go = tmp_path / "made", tmp_path / "go"
    stages = stage("a", "make"), stage("gate", "gate"), stage("b", "count", "a", "gate")
    run = await desk.begin(*stages, made=str(made), go=str(go))
    record: Any = None
    async with asyncio.timeout(30):
        while record is None or record.state is RunState.RUNNING:
            await asyncio.sleep(0.02)
            record = next((s for s in await desk.engine.stages(run.uid) if s.stage == "a"), None)

    servers.workers[str(record.worker).rpartition(" on ")[2]].kill()
    go.touch()

    stored = await asyncio.wait_for(desk.engine.wait(run.uid), 60)
    assert stored.result == str(LARGE).encode()
    assert made.read_text() in ("x", "xx")  # once more, if the block was there alone


async def test_a_worker_that_is_killed_takes_only_what_it_computed(
    desk: Desk, servers: dask_clusters.DaskServers, tmp_path: Path
) -> None:
    desk.write("""
        import os, time
        def each(x, folder):
            open(f"{folder}/{x}-{time.time_ns()}", "w").close()
            time.sleep(0.02)
            return x
    """)
    folder = tmp_path / "marks"
    folder.mkdir()
    each = mapped_stage("each", "each", map_on="xs", allow_partial_failure=False)
    run = await desk.begin(each, xs=list(range(200)), folder=str(folder))
    await until(lambda: len(list(folder.iterdir())) > 40)

    servers.workers["shed"].kill()

    stored = await asyncio.wait_for(desk.engine.wait(run.uid), 60)
    assert stored.result == str(list(range(200))).replace(" ", "").encode()
    computed = [int(path.name.partition("-")[0]) for path in folder.iterdir()]
    assert set(computed) == set(range(200))
    # Of what was computed before, only chunks that were not answered, or were held there alone.
    assert len(computed) < 200 + 150


async def test_a_scheduler_that_is_gone_is_looked_for_until_it_is_back(
    servers: dask_clusters.DaskServers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "RECONNECT_SECONDS", (0.1, 0.5))
    folder = tmp_path / "desk"
    folder.mkdir()
    desk = await Desk.over(DaskExecutor(cluster_address=servers.address), folder)
    assert await desk.result(stage("a", lambda: 1)) == 1
    port = int(servers.address.rpartition(":")[2])

    servers.scheduler.kill()
    await until(lambda: "unavailable" in desk.executor.describe())
    run = await desk.begin(stage("a", lambda: 2))
    said = await waiting_for(desk, run)
    servers.scheduler = dask_clusters.Server.start("scheduler", port=port)
    servers.add("new")

    assert said.startswith("the Dask cluster is not available: ")
    assert (await asyncio.wait_for(desk.engine.wait(run.uid), 60)).result == b"2"
    await desk.engine.stop()


async def test_a_scheduler_that_is_not_there_is_named(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    executor = DaskExecutor(cluster_address=address)

    with pytest.raises(ServerError, match=address):
        await executor.start(Host(app_dir=tmp_path))

    await executor.stop()


@pytest.mark.parametrize("option", [{"cpus": []}, {"scheduler_port": "x"}, {"colour": "red"}])
def test_an_option_that_is_wrong_is_named(option: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=next(iter(option))):
        DaskExecutor(**option)


async def test_a_cluster_of_this_machine_ends_with_its_server(tmp_path: Path) -> None:
    desk = await Desk.over(DaskExecutor(cpus=1, dashboard_port=0), tmp_path)

    assert await desk.result(stage("a", large), stage("b", len, "a")) == LARGE
    (node,) = await desk.executor.nodes()
    await desk.engine.stop()

    assert node.resources["cpus"] == 1
