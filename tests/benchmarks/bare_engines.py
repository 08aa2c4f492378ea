"""Ray or Dask as a user without flowdapt has it: a cluster, and one task for each piece of work.

    python tests/benchmarks/bare_engines.py ray|dask CORES

Prints the address of its cluster, then for each line ``WHAT N`` of standard input the seconds that
it took: ``items N`` no-op tasks one by one, ``burns N`` tasks that compute for half a second,
``chain N`` tasks one on the result of the other and ``awaited N`` of them each submitted when the
one before is done, and ``array MB`` from one task to the next by put and get.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any, Protocol

BURN_SECONDS = 0.5  #: as in the stages that are measured beside it


def each(x: Any) -> None:
    """Do nothing."""


def burn(x: Any) -> None:
    """Compute for half a second of processor time."""
    cpu = time.thread_time()
    while time.thread_time() - cpu < BURN_SECONDS:
        pass


def step(x: Any = None) -> Any:
    """Hand on what came."""
    return x


def made(megabytes: int) -> Any:
    """Return an array."""
    import numpy as np

    return np.ones(megabytes * 10**6 // 8)


class Bare(Protocol):
    """An engine as its own users have it."""

    address: str

    def begin(self, function: Callable[..., Any], argument: Any) -> Any:
        """Return what stands for the result."""

    def end(self, results: list[Any]) -> None:
        """Wait for results, and bring them here."""

    def array(self, megabytes: int) -> float:
        """Return how long it takes from one task to the next."""


class Ray:
    """Ray on this machine."""

    def __init__(self, cores: int) -> None:
        self._ray: Any = import_module("ray")
        self._ray.init("local", num_cpus=cores, include_dashboard=False, log_to_driver=False)
        self.address = self._ray.get_runtime_context().gcs_address
        self._remote = cache(self._ray.remote)

    def begin(self, function: Callable[..., Any], argument: Any) -> Any:
        return self._remote(function).remote(argument)

    def end(self, results: list[Any]) -> None:
        self._ray.get(results)

    def array(self, megabytes: int) -> float:
        return float(self._ray.get(self.begin(received, self.begin(sent, megabytes))))


def sent(megabytes: int) -> Any:
    """Put an array; return where it is, and when that began."""
    array, ray = made(megabytes), import_module("ray")
    begun = time.time()
    return [ray.put(array)], begun


def received(given: Any) -> float:
    """Get the array; return how long that is after the putting began."""
    (reference,), begun = given
    array = import_module("ray").get(reference)
    assert array[-1] == 1
    return float(time.time() - begun)


class Dask:
    """Dask on this machine, a process for each core."""

    def __init__(self, cores: int) -> None:
        distributed: Any = import_module("distributed")
        options = {"n_workers": cores, "threads_per_worker": 1, "dashboard_address": None}
        cluster = distributed.LocalCluster(**options)
        self._client, self._wait = distributed.Client(cluster), distributed.wait
        self.address = cluster.scheduler_address

    def begin(self, function: Callable[..., Any], argument: Any) -> Any:
        return self._client.submit(function, argument, pure=False)

    def end(self, results: list[Any]) -> None:
        self._client.gather(results)

    def array(self, megabytes: int) -> float:
        first, *others = self._client.scheduler_info()["workers"]
        array = self._client.submit(made, megabytes, pure=False, workers=[first])
        self._wait(array)
        # On the other worker, as two stages are mostly computed by two processes.
        there = {"pure": False, "workers": others[:1]}
        return timed(lambda: self._client.submit(len, array, **there).result())


def timed(work: Callable[[], object]) -> float:
    """Return how long it takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def items(bare: Bare, count: int, *, work: Callable[..., Any] = each) -> None:
    """Have no-ops computed one by one, or other work."""
    bare.end([bare.begin(work, i) for i in range(count)])


def chain(bare: Bare, count: int, *, awaited: bool = False) -> None:
    """Have each task take the result of the one before."""
    last = None
    for _ in range(count):
        last = bare.begin(step, last)
        if awaited:
            bare.end([last])
    bare.end([last])


def seconds(bare: Bare, what: str, amount: int) -> float:
    """Return how long something takes."""
    if what == "array":
        return bare.array(amount)
    deeds = {
        "items": lambda: items(bare, amount),
        "burns": lambda: items(bare, amount, work=burn),
        "chain": lambda: chain(bare, amount),
        "awaited": lambda: chain(bare, amount, awaited=True),
    }
    return timed(deeds[what])


def main() -> None:
    """Serve until standard input ends."""
    name, cores = sys.argv[1:]
    bare: Bare = Ray(int(cores)) if name == "ray" else Dask(int(cores))
    sys.stdout.write(f"address {bare.address}\n")
    sys.stdout.flush()
    for line in sys.stdin:
        what, amount = line.split()
        sys.stdout.write(f"seconds {seconds(bare, what, int(amount))}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
