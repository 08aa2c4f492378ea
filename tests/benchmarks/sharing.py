"""Objects that several processes share: a memory of our own, and readers that are attached to it.

The functions are run in the readers; each says what came of it as plain data.
"""

from __future__ import annotations

import mmap
import multiprocessing
import multiprocessing.pool
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from flowdapt_memory.owners import OwnMemory

from flowdapt import objects
from flowdapt.context import (
    Address,
    Places,
    WorkflowRunContext,
    reset_run_context,
    set_run_context,
)
from tests.benchmarks.measuring import seconds

Pool = multiprocessing.pool.Pool


@contextmanager
def memory() -> Iterator[Address]:
    """Have a new memory, where this code's objects are meanwhile; yield its address."""
    with tempfile.TemporaryDirectory(prefix="flowdapt-benchmark-") as folder:
        own = OwnMemory(app_dir=Path(folder))
        token = set_run_context(_context(own.address))
        try:
            yield own.address
        finally:
            reset_run_context(token)
            objects.attached(own.address).close()  # this process has it twice: as its owner, too
            own.close()


@contextmanager
def readers(address: Address, count: int) -> Iterator[Pool]:
    """Yield processes that are not forked from this one and whose objects are in a memory."""
    with multiprocessing.get_context("spawn").Pool(count, _join, address) as pool:
        pool.map(_wait_until, [time.time() + 1.0] * count, chunksize=1)  # they are all there
        yield pool


def _join(*address: str) -> None:
    import numpy  # noqa: F401 - or the first object would pay for it

    set_run_context(_context(Address(*address)))
    objects.exists("nothing")  # likewise for the plugin that objects come from


def _context(address: Address) -> WorkflowRunContext:
    return WorkflowRunContext(objects=Places(address, None, "cluster_memory"))


def look(key: str) -> dict[str, Any]:
    """Get an array, and read it all.

    :return: ``get_s``; ``sum``, which somebody else has to have read, too; ``private_bytes``, by
        which this process's own memory grew; ``file``, that the array lies in
    """
    before = psutil.Process().memory_full_info().uss
    begun = time.perf_counter()
    array = objects.get(key)
    taken = time.perf_counter() - begun
    total = float(array.sum())
    grown = psutil.Process().memory_full_info().uss - before
    return {
        "get_s": taken,
        "sum": total,
        "private_bytes": grown,
        "file": _file_at(array.ctypes.data),
    }


def _file_at(address: int) -> str:
    """Return the file that is mapped where an address of this process is."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, *_, file = line.split(None, 5)
        first, last = (int(end, 16) for end in span.split("-"))
        if first <= address < last:
            return file
    raise LookupError(f"nothing is mapped at {address:x}")


def times_of_get(key: str, count: int) -> list[float]:
    """Get an object again and again, without keeping it; return the seconds of each."""
    return [seconds(lambda: objects.get(key)) for _ in range(count)]


def get(key: str) -> Any:
    """Get an object; as long as it is kept, the next time is without mapping it."""
    return objects.get(key)


def get_and_drop(key: str) -> None:
    """Get an object, and map it for that."""
    objects.get(key)


def add_up(key: str) -> None:
    """Get an array and read all of it."""
    objects.get(key).sum()


def map_bare(file: str) -> None:
    """Map a file, and drop that again."""
    fd = os.open(file, os.O_RDONLY)
    mmap.mmap(fd, 0, access=mmap.ACCESS_READ)
    os.close(fd)


def spin(key: str) -> None:
    """Do what takes about as long as a get, with nothing that is shared."""
    del key
    sum(range(3000))


def rate(work: Callable[[str], Any], key: str, begin: float, duration: float) -> float:
    """Do something with an object as often as there is time for; return how often a second.

    :param begin: seconds since 1970, so that several processes begin together
    """
    _wait_until(begin)
    done, begun = 0, time.perf_counter()
    while (now := time.perf_counter()) < begun + duration:
        _kept = work(key)
        done += 1
    return done / (now - begun)


def _wait_until(then: float) -> None:
    while (left := then - time.time()) > 0:
        time.sleep(left)
