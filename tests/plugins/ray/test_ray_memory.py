"""Objects on a Ray cluster: from its own processes, and through the socket of its gateway."""

from __future__ import annotations

from typing import ClassVar

import pytest
from flowdapt_ray.layouts import BOUNDARY, LARGE, cut
from flowdapt_ray.memory import served

from tests.cluster_memories import ClusterMemorySuite
from tests.ray_clusters import Kept, RayNodes
from tests.staying import Staying


@pytest.fixture(scope="class")
def made(ray_nodes: RayNodes) -> Staying:
    return Kept(cluster_address=ray_nodes.address)


@pytest.mark.anyio
class TestRayMemory(ClusterMemorySuite):
    served = staticmethod(served)
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
