"""An engine over a Dask cluster of two workers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from flowdapt_dask.executor import DaskExecutor
from flowdapt_testing.desks import Desk

from tests import dask_clusters


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dask_clusters.DaskServers]:
    """A cluster that is there for all tests of a module."""
    with dask_clusters.running(tmp_path_factory.mktemp("dask"), one={}, two={}) as servers:
        yield servers


@pytest.fixture
def options(servers: dask_clusters.DaskServers) -> dict[str, Any]:
    """The settings of the executor."""
    return {"cluster_address": servers.address}


@pytest.fixture
async def desk(tmp_path: Path, options: dict[str, Any]) -> AsyncIterator[Desk]:
    """An engine over the cluster."""
    desk = await Desk.over(DaskExecutor(**options), tmp_path)
    yield desk
    await desk.engine.stop()
