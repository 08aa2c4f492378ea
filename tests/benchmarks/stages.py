"""Stage functions of the benchmark; the servers under test have this file as a user module."""

from __future__ import annotations

import time

BURN_SECONDS = 0.5  #: of processor time
SLEEP_SECONDS = 0.4


def noop() -> None:
    """Return nothing."""


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
