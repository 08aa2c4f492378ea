"""Stage functions of the benchmark; the servers under test have this file as a user module."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import cache
from typing import Any

BURN_SECONDS = 0.5  #: of processor time
SLEEP_SECONDS = 0.4


def noop() -> None:
    """Return nothing."""


def clock(n: int, pause: float) -> Iterator[float]:
    """Yield when it is, again and again."""
    for _ in range(n):
        yield time.perf_counter()
        time.sleep(pause)


def flood(n: int, seconds: float) -> Iterator[str]:
    """Yield texts of 100 kB, and wait."""
    for _ in range(n):
        yield "x" * 100_000
    time.sleep(seconds)


def counted(n: int) -> Iterator[int]:
    """Yield numbers as fast as that goes."""
    yield from range(n)


def numbers(n: int) -> list[int]:
    """Return a list to map over."""
    return list(range(n))


def each(x: int) -> None:
    """Do nothing with an element."""


def step(x: object = None) -> object:
    """Hand on what came."""
    return x


def join(*values: object) -> int:
    """Return how many values came."""
    return len(values)


def burn(x: int) -> float:
    """Compute for half a second of processor time, and return the seconds that it took."""
    begun, cpu = time.perf_counter(), time.thread_time()
    while time.thread_time() - cpu < BURN_SECONDS:
        pass
    return time.perf_counter() - begun


def slow(x: object) -> object:
    """Hand on what came, later."""
    time.sleep(SLEEP_SECONDS)
    return x


def large() -> list[str]:
    """Return 10 MB, in many small texts."""
    return [f"{n:>96}" for n in range(105_000)]


def frame(megabytes: int) -> Any:
    """Return a frame of numbers."""
    import numpy as np
    import pandas as pd

    return pd.DataFrame(np.ones((megabytes * 10**6 // 64, 8)), copy=False)


def add_up(frame: Any) -> float:
    """Read a whole frame."""
    return float(frame.to_numpy().sum())


def send(megabytes: int) -> tuple[Any, float, float]:
    """Return an array, what it takes to copy it to memory that was written to, and the time."""
    import numpy as np

    array = np.ones(megabytes * 10**6 // 8)
    target = _written(len(array))
    begun = time.perf_counter()
    np.copyto(target, array)
    sent = time.perf_counter()
    return array, sent - begun, sent


def receive(made: tuple[Any, float, float]) -> tuple[float, float]:
    """Return how long what :func:`send` returned was under way, and what a copy takes."""
    _, copied, sent = made
    return time.perf_counter() - sent, copied


@cache
def _written(size: int) -> Any:
    import numpy as np

    return np.ones(size)
