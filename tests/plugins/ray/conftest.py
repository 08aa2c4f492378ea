"""A connection to the cluster of all tests, which the tests of a file share."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from flowdapt_testing.desks import Desk

from tests.ray_clusters import Kept, RayNodes


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """One loop for all tests of a file."""
    return "asyncio"


@pytest.fixture(scope="module")
async def kept(anyio_backend: str, ray_nodes: RayNodes) -> AsyncIterator[Kept]:
    """An executor that is connected to the cluster of all tests."""
    executor = Kept(cluster_address=ray_nodes.address)
    yield executor
    await executor.end()


@pytest.fixture
async def desk(kept: Kept, tmp_path: Path) -> AsyncIterator[Desk]:
    """An engine over that executor."""
    desk = await Desk.over(kept, tmp_path)
    yield desk
    await desk.engine.stop()


@pytest.fixture(autouse=True)
def _records_as_they_were() -> Iterator[None]:
    """Undo what the import of Ray does to logging; for all tests that follow in this process."""
    factory = logging.getLogRecordFactory()
    yield
    logging.setLogRecordFactory(factory)
