"""The contracts of an executor, over a Ray cluster of two nodes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import ClassVar

import pytest

from flowdapt.testing import ProcessExecutorSuite, WorkerSuite
from tests.ray_clusters import Kept, RayNodes


class OnRay:
    """One connection serves all tests of a class."""

    @pytest.fixture(scope="class")
    @classmethod
    def anyio_backend(cls) -> str:
        return "asyncio"  # one loop for the class, too

    @pytest.fixture(scope="class")
    @classmethod
    async def kept(cls, anyio_backend: str, ray_nodes: RayNodes) -> AsyncIterator[Kept]:
        executor = Kept(cluster_address=ray_nodes.address)
        yield executor
        await executor.end()

    @pytest.fixture
    def executor(self, kept: Kept) -> Kept:
        return kept


class TestRayExecutor(OnRay, ProcessExecutorSuite):
    pass


class TestRayWorkers(OnRay, WorkerSuite):
    alone: ClassVar[dict[str, float]] = {"node1": 1}
