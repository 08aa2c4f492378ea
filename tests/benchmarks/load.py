"""Clients in a process of their own, so that they and what starts them do not wait for each other.

The functions are run there by :func:`apart`; each returns the seconds that its requests took.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any, TypeVar

from tests.benchmarks.wire import Connection

T = TypeVar("T")
Apart = Callable[..., Future[Any]]


@contextmanager
def apart() -> Iterator[Apart]:
    """Yield what runs a coroutine function in a process of its own, with what it is called with."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        yield lambda function, *args: pool.submit(_run, function, args)


def _run(function: Callable[..., Coroutine[Any, Any, T]], args: Sequence[Any]) -> T:
    return asyncio.run(function(*args))


def quantile(values: Sequence[float], q: float) -> float:
    """Return the least of the values that so many are not above."""
    return sorted(values)[max(0, math.ceil(q * len(values)) - 1)]


async def closed(address: str, path: str, clients: int, seconds: float) -> list[float]:
    """Have clients POST one request after another, as fast as they are answered."""
    taken: list[float] = []
    until = time.perf_counter() + seconds

    async def client() -> None:
        connection = await Connection.open(address)
        while (begun := time.perf_counter()) < until:
            (await connection.ask("POST", path, body={})).json()
            taken.append(time.perf_counter() - begun)
        connection.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    return taken


async def arriving(address: str, path: str, rate: float, seconds: float) -> list[float]:
    """POST requests at a fixed rate, whether or not those before are answered.

    What each takes is counted from when it was due, so that a server that stands still does not
    hide that by holding up the clients.
    """
    idle: list[Connection] = []
    taken: list[float] = []

    async def one(due: float) -> None:
        connection = idle.pop() if idle else await Connection.open(address)
        (await connection.ask("POST", path, body={})).json()
        taken.append(time.perf_counter() - due)
        idle.append(connection)

    begun = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for n in range(int(rate * seconds)):
            due = begun + n / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            group.create_task(one(due))
    for connection in idle:
        connection.close()
    return taken


async def pinging(address: str, seconds: float, pause: float) -> list[float]:
    """Ask for ``/``, which published clients ping again and again, with a pause between."""
    connection = await Connection.open(address)
    taken = []
    until = time.perf_counter() + seconds
    while (begun := time.perf_counter()) < until:
        (await connection.ask("GET", "/")).json()
        taken.append(time.perf_counter() - begun)
        await asyncio.sleep(pause)
    connection.close()
    return taken
