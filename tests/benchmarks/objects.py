"""Objects in memory: arrays of 100 MB and texts of 1 KB, beside bare memory and bare files."""

from __future__ import annotations

import mmap
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from flowdapt_memory.owners import SHARED

from flowdapt import objects
from tests.benchmarks.measuring import CORES, Figure, Pairs, in_turns, seconds
from tests.benchmarks.sharing import (
    Pool,
    add_up,
    get,
    get_and_drop,
    look,
    map_bare,
    memory,
    rate,
    readers,
    spin,
    times_of_get,
)

Array = np.ndarray[Any, np.dtype[np.float64]]

ARRAY = 12_500_000  #: of 8 bytes each: 100 MB
SMALL = "s" * 1000
WARM = 10  #: puts after which the memory is mapped that the next are written to
CALLS = 2000  #: with small objects, of each turn
GETS = 50  #: of the array, of each turn
READERS = 8
AT_ONCE = min(READERS, CORES)
SECONDS = 0.5  #: for which they read, of each turn


async def measure(repeat: int) -> list[Figure]:
    """Measure what one process does, and then what many do together."""
    array = np.random.default_rng(7).random(ARRAY)
    figures = [_first(array, repeat)]
    with memory() as address:
        figures += [await _warm(array, 3 * repeat), *(await _small(repeat))]
        with readers(address, READERS) as pool:
            # Pages that nobody else had mapped would count as its own; the writer has.
            first: dict[str, Any] = pool.apply(look, ["array"])
            figures += _elsewhere(pool, first, repeat)
            figures += _together(pool, first["file"], repeat)
    return figures


# One process -----------------------------------------------------------------------------------


def _first(array: Array, repeat: int) -> Figure:
    """Put into a memory that was never used, beside a new file of shared memory."""
    ours, floor = [], []
    for _ in range(repeat + 1):
        with memory():
            ours.append(seconds(lambda: objects.put("array", array)))
        with _folder() as folder:
            floor.append(seconds(partial(_copy_to_new, folder / "new", array)))
    pairs = Pairs(ours[1:], floor[1:])
    facts = {"ours_ms": pairs.ours_s * 1e3, "new_segment_ms": pairs.floor_s * 1e3}
    return Figure("objects, first put of 100 MB", pairs.ratio, 1.2, unit="x segment", facts=facts)


def _copy_to_new(file: Path, array: Array) -> None:
    fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    os.ftruncate(fd, array.nbytes)
    with mmap.mmap(fd, array.nbytes) as mapped:
        os.close(fd)
        mapped[:] = array.data.cast("B")


async def _warm(array: Array, repeat: int) -> Figure:
    """Put where the one before the last one was, beside a copy to memory that was written to."""
    target = array.copy()
    for _ in range(WARM):
        objects.put("array", array)

    async def put() -> None:
        objects.put("array", array)

    pairs = await in_turns(put, lambda: np.copyto(target, array), repeat)
    facts = {
        "ours_ms": pairs.ours_s * 1e3,
        "memcpy_ms": pairs.floor_s * 1e3,
        "fastest_ms": f"{min(pairs.ours) * 1e3:.3g} and {min(pairs.floor) * 1e3:.3g}",
        "GB_per_s": array.nbytes / pairs.ours_s / 1e9,
    }
    name, speed = "objects, warm put of 100 MB", 1 / pairs.ratio
    return Figure(name, speed, 0.8, at_least=True, unit="x memcpy", facts=facts)


async def _small(repeat: int) -> list[Figure]:
    """Put and get 1 KB, each call in turns with a bare file that is written or read."""
    with _folder() as folder:
        file = folder / "small"
        bare: dict[str, Callable[[], object]] = {
            "put": lambda: file.write_bytes(SMALL.encode()),
            "get": file.read_bytes,
        }
        ours: dict[str, Callable[[], object]] = {
            "put": lambda: objects.put("small", SMALL),
            "get": lambda: objects.get("small"),
        }
        return [_each(name, ours[name], bare[name], CALLS * repeat) for name in ours]


def _each(name: str, ours: Callable[[], object], bare: Callable[[], object], count: int) -> Figure:
    turns = [(seconds(ours), seconds(bare)) for _ in range(count)]
    times, floor = ([turn[n] * 1e6 for turn in turns] for n in (0, 1))
    facts = {
        "p99_us": statistics.quantiles(times, n=100)[98],
        "fastest_us": min(times),
        "bare_file_us": statistics.median(floor),
        "ratio": statistics.median(times) / statistics.median(floor),
    }
    p50 = statistics.median(times)
    return Figure(f"objects, {name} of 1 KB, p50", p50, 100, unit="us", facts=facts)


# Many processes --------------------------------------------------------------------------------


def _elsewhere(pool: Pool, first: dict[str, Any], repeat: int) -> list[Figure]:
    """Get the array in another process, where it was read once, again and again."""
    if first["sum"] != objects.get("array").sum() or not first["file"].endswith(
        "/objects/default/array"
    ):
        raise RuntimeError(f"the array is not the one in shared memory: {first}")
    times = [t for _ in range(repeat) for t in pool.apply(times_of_get, ("array", GETS))]
    facts = {
        "first_of_a_process_ms": first["get_s"] * 1e3,
        "p99_ms": statistics.quantiles(times, n=100)[98] * 1e3,
        "lies_in": "the shared file",
    }
    grown = first["private_bytes"] / 1e6
    get = statistics.median(times) * 1e3
    return [
        Figure("objects, get elsewhere, p50", get, 1, unit="ms", facts=facts),
        Figure("objects, get elsewhere, private", grown, 1, unit="MB"),
    ]


def _together(pool: Pool, file: str, repeat: int) -> list[Figure]:
    """Have one process read the array again and again, in turns with all of them.

    So do a loop that shares nothing, for how many times one core's work the machine has left for
    so many, and a bare mapping of the same file, for what the system itself makes wait.
    """
    lines: list[tuple[str, Callable[[str], object], float | None]] = [
        ("objects, 8 get what they have", get, 0.8),
        ("objects, 8 get and drop", get_and_drop, 0.8),
        ("objects, 8 get and add up", add_up, None),
    ]
    figures = []
    for name, work, target in lines:
        turns = [
            [_rate(pool, what, about, count) for what, about in asked for count in (1, READERS)]
            for _ in range(repeat)
            for asked in [((work, "array"), (spin, ""), (map_bare, file))]
        ]
        alone, all_, spun, all_spun, mapped, all_mapped = map(
            statistics.median, zip(*turns, strict=True)
        )
        facts = {
            "alone_per_s": alone,
            "together_per_s": all_,
            "of_cores": all_ / alone / AT_ONCE,
            "spin_of_cores": all_spun / spun / AT_ONCE,
            "bare_map_of_cores": all_mapped / mapped / AT_ONCE,
        }
        value = statistics.median((a / o) / (s / p) for o, a, p, s, *_ in turns)
        figures.append(Figure(name, value, target, at_least=True, unit="x spinning", facts=facts))
    return figures


def _rate(pool: Pool, work: Callable[[str], object], about: str, count: int) -> float:
    """Return how often a second so many processes do something, all together."""
    tasks = [(work, about, time.time() + 0.1, SECONDS)] * count
    return float(sum(pool.starmap(rate, tasks, chunksize=1)))


@contextmanager
def _folder() -> Iterator[Path]:
    """Yield a new folder in shared memory."""
    with tempfile.TemporaryDirectory(dir=SHARED, prefix="flowdapt-benchmark-") as folder:
        yield Path(folder)
