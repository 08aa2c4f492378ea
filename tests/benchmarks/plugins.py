"""How long plugins take to come to four nodes and to go again, and a node that joins."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.measuring import Figure
from tests.cluster_nodes import Environments, machines
from tests.plugins.installer.sites import orchard, serving
from tests.ray_clusters import known

NAMES = ("one", "two", "three", "four")


def changed(engine: str, repeat: int) -> tuple[list[float], list[float], float]:
    """Return how long installs and rollbacks took, and a node that joined to have the set."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (
            known(),
            machines(engine, Environments(), folder / "nodes", *NAMES) as cluster,
            serving(cluster, folder / "app") as site,
        ):
            site.install(orchard(folder / "wheels", "0.1"))  # of a cluster that is in use
            installs, rollbacks = [], []
            for number in range(repeat):
                made = orchard(folder / "wheels", f"1.{number}")
                begin = time.perf_counter()
                ended = site.install(made)
                installs.append(time.perf_counter() - begin)
                assert len(ended.nodes) == len(NAMES) + 1
                begin = time.perf_counter()
                assert site.change("rollback").state == "done"
                rollbacks.append(time.perf_counter() - begin)
            machine = cluster.add("late")
            begin = time.perf_counter()
            while not [one for one in machine.sets.iterdir() if not one.name.startswith(".")]:
                site.client.status()
            return installs, rollbacks, time.perf_counter() - begin


async def measure(repeat: int) -> Sequence[Figure]:
    """Measure it on both engines."""
    figures = []
    for engine in ("ray", "dask"):
        installs, rollbacks, joined = await asyncio.to_thread(changed, engine, max(3, repeat))
        facts = {"fastest_s": min(installs), "slowest_s": max(installs)}
        figures += [
            Figure(f"install on 4 nodes of {engine}", max(installs), 10, unit="s", facts=facts),
            Figure(
                f"rollback on 4 nodes of {engine}",
                sorted(rollbacks)[len(rollbacks) // 2],
                1,
                unit="s",
                facts={"fastest_s": min(rollbacks), "slowest_s": max(rollbacks)},
            ),
            Figure(f"a node that joins {engine} is ready", joined, 15, unit="s"),
        ]
    return figures
