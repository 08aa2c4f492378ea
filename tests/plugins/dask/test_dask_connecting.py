"""Clusters that do not go with the server, or only in part."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from flowdapt_dask import connecting
from flowdapt_dask.executor import DaskExecutor
from flowdapt_testing.desks import Desk
from flowdapt_testing.desks import user_stage as stage
from flowdapt_workers.clusters import ClusterUnavailable

import flowdapt
from flowdapt.errors import ServerError
from flowdapt.executors import Host
from tests import dask_clusters

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dask_clusters.DaskServers]:
    with dask_clusters.running(tmp_path_factory.mktemp("dask"), old={"version": "0.9"}) as servers:
        yield servers


async def test_a_cluster_of_workers_with_another_flowdapt_is_refused(
    servers: dask_clusters.DaskServers, tmp_path: Path
) -> None:
    executor = DaskExecutor(cluster_address=servers.address)

    with pytest.raises(ServerError) as refused:
        await executor.start(Host(app_dir=tmp_path))

    said = f"worker old has flowdapt 0.9, and this server {flowdapt.__version__}"
    assert said in str(refused.value)


class TestBesideOthers:
    """Where one worker has another version, the others compute."""

    @pytest.fixture(autouse=True)
    def _new(self, servers: dask_clusters.DaskServers) -> None:
        servers.restore(old={"version": "0.9"}, new={})

    async def test_no_stage_comes_to_a_worker_with_another_flowdapt(self, desk: Desk) -> None:
        found = await asyncio.gather(*(desk.run(stage("a", lambda: 1)) for _ in range(8)))

        new, old = await desk.executor.nodes()
        assert (new.name, new.problem) == ("new", "")
        assert f"old has flowdapt 0.9, and this server {flowdapt.__version__}" in old.problem
        for stored in found:
            (record,) = await desk.engine.storage.list_stages(stored.run.uid)
            assert str(record.worker).endswith("on new")


@pytest.mark.parametrize(
    ("python", "distributed", "said"),
    [
        ("2.7.18.final.0", None, r"has Python 2\.7, and"),
        (None, "1.0", r"has distributed 1\.0, and"),
    ],
)
async def test_other_versions_of_the_scheduler_are_named(
    python: str | None, distributed: str | None, said: str
) -> None:
    versions = connecting.versions()
    theirs: dict[str, Any] = {
        "host": {"python": python or versions["Python"]},
        "packages": {"distributed": distributed or versions["distributed"]},
    }

    async def answer() -> dict[str, Any]:
        return theirs

    client = SimpleNamespace(scheduler=SimpleNamespace(versions=answer))

    with pytest.raises(ClusterUnavailable, match=said) as refused:
        await connecting.check_versions(client, flowdapt.__version__, "topic")

    assert refused.value.final
