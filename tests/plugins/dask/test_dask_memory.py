"""Objects on a Dask cluster: from processes of its workers, and through its gateway."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from distributed import Client
from flowdapt_dask.executor import DaskExecutor
from flowdapt_dask.memory import served
from flowdapt_testing.desks import Desk, until
from flowdapt_testing.desks import user_stage as stage

from flowdapt import objects
from flowdapt.context import Places
from flowdapt.executors import Host
from tests import dask_clusters
from tests.cluster_memories import ClusterMemorySuite
from tests.dask_clusters import DaskServers
from tests.staying import Staying

pytestmark = pytest.mark.anyio

LIMIT = 500 * 2**20  #: bytes of memory of a worker
WORKERS = {name: {"memory_limit": LIMIT, "resources": {name: 1}} for name in ("here", "there")}


class Kept(Staying, DaskExecutor):
    """An executor on Dask that stays connected."""


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskServers]:
    with dask_clusters.running(tmp_path_factory.mktemp("dask"), **WORKERS) as servers:
        yield servers


@pytest.fixture(scope="class")
def made(servers: DaskServers) -> Staying:
    return Kept(cluster_address=servers.address)


async def data_of(address: str) -> tuple[list[str], list[str]]:
    """Return which data and which clients a scheduler knows."""

    def known(dask_scheduler: Any = None) -> tuple[list[str], list[str]]:
        return [*map(str, dask_scheduler.tasks)], [*dask_scheduler.clients]

    made: Any = Client  # it has no types
    async with made(address, asynchronous=True, set_as_default=False) as client:
        found: tuple[list[str], list[str]] = await client.run_on_scheduler(known)
        return found


class TestDaskMemory(ClusterMemorySuite):
    served = staticmethod(served)
    there: ClassVar = {"there": 1.0}
    here: ClassVar = {"here": 1.0}
    inside = "SocketMemory"  # that of the agent

    async def test_what_is_replaced_read_elsewhere_and_deleted_stays_nowhere(
        self, desk: Desk, servers: DaskServers
    ) -> None:
        def put() -> None:
            for _ in range(3):
                objects.put("large", bytes(1_000_000), namespace="farm")

        def read(_: Any) -> int:
            found = len(objects.get("large", namespace="farm"))
            objects.delete("large", namespace="farm")
            return found

        read_elsewhere = stage("read", read, "put", resources={"there": 1})
        found = await desk.result(stage("put", put, resources={"here": 1}), read_elsewhere)

        data, _ = await data_of(servers.address)
        assert found == 1_000_000
        assert not [key for key in data if key.startswith("flowdapt-object")]

    async def test_an_object_is_lost_with_its_node_and_that_is_said(
        self, servers: DaskServers, places: Places, kept: Staying, desk: Desk
    ) -> None:
        def put() -> None:
            objects.put("large", bytes(1_000_000), namespace="lost")

        assert places.memory is not None
        memory = objects.attached(places.memory)
        gone = servers.add("gone", resources={"gone": 1})
        await until(lambda: "gone" in kept.describe()["nodes"])
        await desk.result(stage("put", put, resources={"gone": 1}))
        gone.kill()

        with pytest.raises(KeyError, match=r"'large'.*was lost with the node that had it"):
            memory.get("lost", "large")
        memory.clear("lost")

    async def test_nothing_is_left_once_the_gateway_has_gone(
        self, servers: DaskServers, tmp_path: Path
    ) -> None:
        memory = served(app_dir=tmp_path)
        executor = DaskExecutor(cluster_address=servers.address)
        await executor.start(Host(app_dir=tmp_path, places=Places(memory.address, None)))
        memory.put("farm", "large", [bytes(1_000_000)], size=1_000_000)
        before, clients = await data_of(servers.address)

        await executor.stop()

        after, others = await data_of(servers.address)
        new = [key for key in before if key.startswith("flowdapt-object")]
        assert len(new) == 1
        assert not set(new) & set(after)
        assert len([name for name in others if name.endswith("-objects")]) == 1
        assert len([name for name in clients if name.endswith("-objects")]) == 2
