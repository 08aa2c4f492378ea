"""The contracts of an executor, over a Dask cluster of two workers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import pytest
from flowdapt_dask.executor import DaskExecutor

from flowdapt.testing import ProcessCallSuite, ProcessExecutorSuite, WorkerSuite
from tests import dask_clusters
from tests.staying import OneConnection, Staying


class Kept(Staying, DaskExecutor):
    """An executor on Dask that stays connected."""


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dask_clusters.DaskServers]:
    folder = tmp_path_factory.mktemp("dask")
    two = {"resources": {"field": 1}}
    with dask_clusters.running(folder, one={}, two=two) as servers:
        yield servers


@pytest.fixture(scope="class")
def made(servers: dask_clusters.DaskServers) -> Staying:
    return Kept(cluster_address=servers.address)


class TestDaskExecutor(OneConnection, ProcessExecutorSuite):
    pass


class TestDaskWorkers(OneConnection, WorkerSuite):
    alone: ClassVar[dict[str, float]] = {"field": 1}


class TestDaskCalls(OneConnection, ProcessCallSuite):
    pass
