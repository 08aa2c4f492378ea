"""The contracts of an executor, over a Ray cluster of two nodes."""

from __future__ import annotations

from typing import ClassVar

import pytest

from flowdapt.testing import ProcessCallSuite, ProcessExecutorSuite, WorkerSuite
from tests.ray_clusters import Kept, RayNodes
from tests.staying import OneConnection, Staying


@pytest.fixture(scope="class")
def made(ray_nodes: RayNodes) -> Staying:
    return Kept(cluster_address=ray_nodes.address)


class TestRayExecutor(OneConnection, ProcessExecutorSuite):
    pass


class TestRayWorkers(OneConnection, WorkerSuite):
    alone: ClassVar[dict[str, float]] = {"node1": 1}


class TestRayCalls(OneConnection, ProcessCallSuite):
    pass
