"""Clusters that are lost, that refuse us, and that are our own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from flowdapt_ray.executor import RayExecutor
from flowdapt_testing.desks import Desk, until
from flowdapt_testing.desks import user_stage as stage

from flowdapt.errors import ServerError
from flowdapt.executors import Host
from flowdapt.runs import RunState
from tests import ray_clusters
from tests.ray_clusters import RayNodes

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def own_nodes() -> Iterator[RayNodes]:
    """A cluster of which tests may kill what they like, as long as its head is there again."""
    port = ray_clusters.free_port()
    with ray_clusters.known(), ray_clusters.serving(1, gcs_server_port=port) as cluster:
        yield cluster


@pytest.fixture
async def desk(own_nodes: RayNodes, tmp_path: Path) -> AsyncIterator[Desk]:
    executor = RayExecutor(cluster_address=own_nodes.address)
    desk = await Desk.over(executor, tmp_path)
    yield desk
    await desk.engine.stop()


# Clusters that are lost ----------------------------------------------------------------------


async def test_a_server_finds_its_cluster_again_when_the_head_node_was_lost(
    desk: Desk, own_nodes: RayNodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowdapt_workers.connection.RECONNECT_SECONDS", (0.5, 0.5))
    begun, go = tmp_path / "begun", tmp_path / "go"

    def waits(begun: str, go: str) -> int:
        import time

        open(begun, "w").close()
        while not os.path.exists(go):
            time.sleep(0.01)
        return 1

    run = await desk.begin(stage("a", waits), begun=str(begun), go=str(go))
    await until(begun.exists)

    await asyncio.to_thread(own_nodes.do, "kill_head")
    await until(lambda: "unavailable" in desk.executor.describe())
    said = desk.executor.describe()["unavailable"]
    begun.unlink()
    await asyncio.to_thread(own_nodes.do, "begin_again")
    go.touch()
    stored = await asyncio.wait_for(desk.engine.wait(run.uid), 180)

    assert said.startswith(f"the head node at {own_nodes.address} does not answer")
    assert (stored.run.state, stored.result) == (RunState.FINISHED, b"1")
    assert begun.exists()
    assert "unavailable" not in desk.executor.describe()


# Clusters that refuse us ---------------------------------------------------------------------


async def refused(tmp_path: Path, address: str, **options: Any) -> str:
    """Return why an executor does not start."""
    executor = RayExecutor(cluster_address=address, **options)
    with pytest.raises(ServerError) as caught:
        async with asyncio.timeout(60):
            await executor.start(Host(app_dir=tmp_path))
    await executor.stop()
    return str(caught.value)


async def test_a_wrong_token_is_said_to_be_one(
    own_nodes: RayNodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "f" * 64)

    said = await refused(tmp_path, own_nodes.address)

    assert f"the Ray cluster at {own_nodes.address} takes no one without its token" in said
    assert "RAY_AUTH_TOKEN" in said


async def test_labels_that_ray_does_not_understand_are_refused(
    own_nodes: RayNodes, tmp_path: Path
) -> None:
    said = await refused(tmp_path, own_nodes.address, label_selector={"zone": "a or b"})

    assert "Ray refuses the options of its executor: Invalid label selector" in said
    assert "`a or b`" in said


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("127.0.0.1:1", "nothing answers at 127.0.0.1:1: Connection refused"),
        ("ray://127.0.0.1:1", "cluster_address must be host:port"),
        ("head", "cluster_address must be host:port of a head node, or 'auto', not 'head'"),
    ],
)
async def test_an_address_where_no_cluster_is_is_named(
    tmp_path: Path, address: str, reason: str
) -> None:
    assert reason in await refused(tmp_path, address)


# Clusters of our own -------------------------------------------------------------------------


async def test_a_cluster_of_our_own_listens_on_loopback_and_ends_with_its_gateway(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", ray_clusters.TOKEN)
    for name in (*ray_clusters.LOOPBACK, "RAY_AUTH_MODE"):
        monkeypatch.delenv(name, raising=False)
    executor = RayExecutor(cpus=1, resources={"disk": 2}, include_dashboard=False)
    await executor.start(Host(app_dir=tmp_path))
    (node,) = await executor.nodes()
    (gateway,) = [p for p in psutil.Process().children() if "flowdapt_workers.gateway" in _told(p)]
    processes = [p for p in gateway.children(recursive=True) if not ray_clusters.lingers(p)]
    listening = {
        connection.laddr.ip
        for process in (gateway, *processes)
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }

    gateway.send_signal(signal.SIGKILL)
    stopping = asyncio.create_task(executor.stop())  # before another one is started
    _, left = await asyncio.to_thread(psutil.wait_procs, processes, timeout=120)
    await stopping

    assert not left
    assert (node.resources["cpus"], node.resources["disk"]) == (1, 2)
    assert listening <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


def _told(process: psutil.Process) -> str:
    return json.dumps(process.cmdline())
