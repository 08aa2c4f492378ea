"""Objects on a Ray cluster: from its own processes, and through the socket of its gateway."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import ClassVar

import pytest
from flowdapt_ray.layouts import BOUNDARY, LARGE, cut
from flowdapt_ray.memory import served
from flowdapt_testing.desks import Desk

from flowdapt.context import Places
from flowdapt.executors import Host
from tests.cluster_memories import ClusterMemorySuite
from tests.ray_clusters import Kept, RayNodes


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Places:
    """Where the objects of a server are that keeps them on the cluster."""
    return Places(served(app_dir=tmp_path_factory.mktemp("server")).address, None, "cluster_memory")


@pytest.fixture(scope="module")
async def kept(
    anyio_backend: str,
    ray_nodes: RayNodes,
    places: Places,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Kept]:
    executor = Kept(cluster_address=ray_nodes.address)
    await executor.start(Host(app_dir=tmp_path_factory.mktemp("app"), places=places))
    yield executor
    await executor.end()


@pytest.fixture
async def desk(kept: Kept, places: Places, tmp_path: Path) -> AsyncIterator[Desk]:
    desk = await Desk.over(kept, tmp_path, places=places)
    yield desk
    await desk.engine.stop()


@pytest.mark.anyio
class TestRayMemory(ClusterMemorySuite):
    there: ClassVar = {"node1": 1.0}
    here: ClassVar = {"node0": 1.0}


# How blocks lie ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sizes",
    [[], [0], [5], [20, 44, 300, 20, LARGE], [LARGE + 1, 3, LARGE - 1, LARGE, 7], [LARGE, LARGE]],
)
def test_pieces_are_cut_at_boundaries_and_stay_what_they_are(sizes: list[int]) -> None:
    pieces = [bytes([number]) * size for number, size in enumerate(sizes)]

    made = cut(pieces)

    assert b"".join(made) == b"".join(pieces)
    assert all(len(piece) % BOUNDARY == 0 for piece in made[:-1])
