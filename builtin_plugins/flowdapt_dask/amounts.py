"""Resources as Dask counts them: under names of ours, and in whole numbers.

A worker adds and subtracts what tasks take, and with fractions it ends up with a little less than
it had. So amounts are in thousandths.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flowdapt_workers.submitting import LEAST_CPUS

THOUSANDTHS = 1000
PREFIX = "flowdapt-"
CPUS = PREFIX + "cpus"


def label(version: str) -> str:
    """Return the resource that only workers with this version of flowdapt have."""
    return f"{PREFIX}version-{version}"


def restrictions(version: str, wanted: Mapping[str, float]) -> dict[str, int]:
    """Return what a task takes, of workers that have it at all.

    The least amount of processors counts as none, so that what hardly computes has not to wait.
    """
    taken = {name: amount for name, amount in wanted.items() if amount > 0}
    if taken.get("cpus", 0.0) <= LEAST_CPUS:
        taken.pop("cpus", None)
    return {label(version): 0} | {PREFIX + name: _exact(taken[name]) for name in taken}


def supplied(version: str, has: Mapping[str, float]) -> dict[str, int]:
    """Return what a worker is to say that it has."""
    return {label(version): 0} | {PREFIX + name: int(has[name] * THOUSANDTHS) for name in has}


def _exact(amount: float) -> int:
    return max(1, round(amount * THOUSANDTHS))


def declared(resources: Mapping[str, float], threads: int, memory: float) -> dict[str, float]:
    """Return what a worker has, from what whoever started it said.

    :param resources: as Dask knows them, where ``GPU`` is what others call gpus
    """
    has = {n: float(a) for n, a in resources.items() if not n.startswith(PREFIX)}
    has.setdefault("gpus", has.pop("GPU", 0.0))
    has.setdefault("cpus", has.pop("CPU", float(threads)))
    has.setdefault("memory", has.pop("MEMORY", memory))
    return has


def described(worker: Any) -> dict[str, float]:
    """Return what a Dask worker has."""
    import psutil

    most = worker.memory_manager.memory_limit or psutil.virtual_memory().total
    return declared(worker.state.total_resources, worker.state.nthreads, float(most))
