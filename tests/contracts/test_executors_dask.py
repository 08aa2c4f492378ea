"""The executor contract, over a Dask cluster of two workers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from flowdapt_dask.executor import DaskExecutor
from flowdapt_testing.benches import Bench

from flowdapt.executors import Host, Progress
from flowdapt.storage import LogBlock
from flowdapt.testing import ProcessExecutorSuite
from tests import dask_clusters


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dask_clusters.DaskServers]:
    with dask_clusters.running(tmp_path_factory.mktemp("dask"), one={}, two={}) as servers:
        yield servers


class TestDaskExecutor(ProcessExecutorSuite):
    """One executor for all tests, as it takes seconds to start: it loads Dask."""

    @pytest.fixture(scope="class")
    @classmethod
    def anyio_backend(cls) -> str:
        return "asyncio"

    @pytest.fixture(scope="class")
    @classmethod
    async def started(
        cls, servers: dask_clusters.DaskServers, tmp_path_factory: pytest.TempPathFactory
    ) -> AsyncIterator[list[Bench]]:
        """A bench over a started executor, in a list: who is in it hears what happens."""
        executor = DaskExecutor(cluster_address=servers.address)
        benches = [Bench(executor)]

        def moved(progress: Progress) -> None:
            benches[0].progress.append(progress)

        def wrote(_: object, block: LogBlock) -> None:
            benches[0].take(block)

        app_dir = tmp_path_factory.mktemp("server")
        await executor.start(Host(app_dir=app_dir, on_log=wrote, on_progress=moved))
        yield benches
        await executor.stop()

    @pytest.fixture
    async def bench(self, started: list[Bench]) -> Bench:
        started[0] = Bench(started[0].executor)
        return started[0]
