"""The executor contract, over a Ray cluster of two nodes."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from flowdapt.testing import ProcessExecutorSuite
from tests.ray_clusters import Kept, RayNodes


class TestRayExecutor(ProcessExecutorSuite):
    @pytest.fixture(scope="class")
    @classmethod
    def anyio_backend(cls) -> str:
        return "asyncio"  # one loop for the class, so that one connection serves all its tests

    @pytest.fixture(scope="class")
    @classmethod
    async def kept(cls, anyio_backend: str, ray_nodes: RayNodes) -> AsyncIterator[Kept]:
        executor = Kept(cluster_address=ray_nodes.address)
        yield executor
        await executor.end()

    @pytest.fixture
    def executor(self, kept: Kept) -> Kept:
        return kept
