"""The contracts of an executor, over a Dask cluster of two workers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import ClassVar

import pytest
from flowdapt_dask.executor import DaskExecutor

from flowdapt.testing import ProcessExecutorSuite, WorkerSuite
from tests import dask_clusters
from tests.staying import Staying


class Kept(Staying, DaskExecutor):
    """An executor on Dask that stays connected."""


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dask_clusters.DaskServers]:
    folder = tmp_path_factory.mktemp("dask")
    with dask_clusters.running(folder, "one") as servers:
        servers.add("two", resources={"field": 1})
        yield servers


class OnDask:
    """One connection serves all tests of a class."""

    @pytest.fixture(scope="class")
    @classmethod
    def anyio_backend(cls) -> str:
        return "asyncio"  # one loop for the class, too

    @pytest.fixture(scope="class")
    @classmethod
    async def kept(
        cls, anyio_backend: str, servers: dask_clusters.DaskServers
    ) -> AsyncIterator[Kept]:
        executor = Kept(cluster_address=servers.address)
        yield executor
        await executor.end()

    @pytest.fixture
    def executor(self, kept: Kept) -> Kept:
        return kept


class TestDaskExecutor(OnDask, ProcessExecutorSuite):
    pass


class TestDaskWorkers(OnDask, WorkerSuite):
    alone: ClassVar[dict[str, float]] = {"field": 1}
