"""The executor contract, over a Dask cluster of two workers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flowdapt_dask.executor import DaskExecutor

from flowdapt.executors import Executor
from flowdapt.testing import ProcessExecutorSuite
from tests import dask_clusters


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dask_clusters.DaskServers]:
    with dask_clusters.running(tmp_path_factory.mktemp("dask"), "one", "two") as servers:
        yield servers


class TestDaskExecutor(ProcessExecutorSuite):
    @pytest.fixture
    def executor(self, servers: dask_clusters.DaskServers) -> Executor:
        return DaskExecutor(cluster_address=servers.address)
