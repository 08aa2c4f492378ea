"""What a server keeps in memory after ten thousand requests, and after a hundred thousand."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from itertools import cycle

from tests.benchmarks.measuring import Figure
from tests.benchmarks.servers import NOOP, Process, app_dir, flowdapt
from tests.benchmarks.wire import Connection

FEW, MANY = 10_000, 100_000  #: requests
CLIENTS = 8
SETTLE_SECONDS = 3.0
LIMIT_SECONDS = 900.0  #: for all of it
MIB = 2**20

CONFIG = {"metadata": {"name": "soak"}, "spec": {"data": {"depth": 1}}}
MIX = [
    *[("GET", "/", None)] * 8,
    *[("POST", "/workflows/noop/run", {})] * 4,
    *[("GET", "/workflows/noop/run?limit=10", None)] * 2,
    ("GET", "/workflows/", None),
    ("GET", "/status", None),
    ("GET", "/metrics?max_length=30", None),
    ("PUT", "/configs/soak", CONFIG),
    ("GET", "/workflows/missing", None),
    ("POST", "/configs/", {"metadata": {"name": "not a name"}}),
]


async def measure(repeat: int) -> list[Figure]:
    """Soak a server in a mix of requests, some of which it refuses. Once, whatever ``repeat``."""
    del repeat
    with app_dir() as folder, flowdapt(folder) as server:
        connection = await Connection.open(server.address)
        for path, body in (("/workflows/", NOOP), ("/configs/", CONFIG)):
            (await connection.ask("POST", path, body=body)).json()
        connection.close()
        begun = time.perf_counter()
        async with asyncio.timeout(LIMIT_SECONDS):
            statuses = await _ask(server.address, FEW)
            few = _private(server)
            statuses += await _ask(server.address, MANY - FEW)
            many = _private(server)
        taken = time.perf_counter() - begun
    facts = {
        "few_mib": few,
        "many_mib": many,
        "requests_per_s": MANY / taken,
        "runs": MANY * 4 // len(MIX),
        "statuses": "+".join(f"{count}x{status}" for status, count in sorted(statuses.items())),
    }
    return [Figure("soak, memory after ten times as many", many / few, 1.05, facts=facts)]


async def _ask(address: str, count: int) -> Counter[int]:
    statuses: Counter[int] = Counter()
    todo = iter(zip(range(count), cycle(MIX), strict=False))
    await asyncio.gather(*(_client(address, todo, statuses) for _ in range(CLIENTS)))
    return statuses


async def _client(
    address: str,
    todo: Iterator[tuple[int, tuple[str, str, object]]],
    statuses: Counter[int],
) -> None:
    connection = await Connection.open(address)
    for _, (method, path, body) in todo:
        statuses[(await connection.ask(method, path, body=body)).status] += 1
    connection.close()


def _private(server: Process) -> float:
    """Return what no other process shares, once the server has been left alone for a while."""
    time.sleep(SETTLE_SECONDS)
    return float(server.tree()[0].memory_full_info().uss / MIB)
