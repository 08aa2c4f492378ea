"""How soon what a stage yields is with who asked for it, and how fast a workflow answers.

Stages say when they yield by a clock that all processes of the machine have in common.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx

from tests.benchmarks.load import apart, arriving, quantile
from tests.benchmarks.measuring import Figure
from tests.benchmarks.servers import app_dir, flowdapt, stage, workflow
from tests.benchmarks.wire import Connection

RUNS = 200  #: of which each yields a few items, with pauses
ITEMS = 5
PAUSE_SECONDS = 0.004
MANY = 100_000  #: items of one run, without pauses
RATE = 200.0  #: requests a second to a workflow of three stages
RATE_SECONDS = 10.0
WORKFLOWS = [
    workflow("clock", stage("clock", "clock")),
    workflow("counted", stage("counted", "counted")),
    workflow("three", stage("a", "step"), stage("b", "step", "a"), stage("c", "step", "b")),
]


async def measure(repeat: int) -> list[Figure]:
    """Read the items of many short runs and of a long one, then have requests arrive."""
    with app_dir() as folder, flowdapt(folder) as server, apart() as run:
        for one in WORKFLOWS:
            httpx.post(f"{server.address}/workflows/", json=one).raise_for_status()
        firsts, later = run(_delays, server.address).result()
        rates = [run(_rate, server.address).result() for _ in range(repeat)]
        path, told = "/workflows/three/run", []
        for _ in range(repeat):
            told += run(arriving, server.address, path, RATE, RATE_SECONDS).result()
    return [
        _spread("streams, p99 to a first item", firsts, 5),
        _spread("streams, p99 to later ones", later, 5),
        Figure("streams, items a second", statistics.median(rates), unit="/s"),
        _spread(f"3 stages, p99 at {RATE:g}/s", told, 20),
    ]


def _spread(name: str, taken: list[float], target: float) -> Figure:
    p50, p99 = (quantile(taken, q) * 1e3 for q in (0.5, 0.99))
    facts = {"p50_ms": p50, "p90_ms": quantile(taken, 0.9) * 1e3, "n": len(taken)}
    return Figure(name, p99, target, unit="ms", facts=facts)


async def _delays(address: str) -> tuple[list[float], list[float]]:
    """Return how long items were under way: the first of each run, and the others."""
    firsts: list[float] = []
    later: list[float] = []
    connection = await Connection.open(address)
    for _ in range(RUNS):
        seen = 0
        async for item in _items(connection, "clock", {"n": ITEMS, "pause": PAUSE_SECONDS}):
            (later if seen else firsts).append(time.perf_counter() - item)
            seen += 1
    connection.close()
    return firsts, later


async def _rate(address: str) -> float:
    """Return how many items of a long run come a second."""
    connection = await Connection.open(address)
    begun = time.perf_counter()
    count = 0
    async for _ in _items(connection, "counted", {"n": MANY}):
        count += 1
    connection.close()
    assert count == MANY
    return count / (time.perf_counter() - begun)


async def _items(connection: Connection, name: str, given: Mapping[str, Any]) -> AsyncIterator[Any]:
    """Run a workflow, and yield its items."""
    path = f"/workflows/{name}/run"
    await connection.send("POST", path, body=given, accept="application/x-ndjson")
    status, _ = await connection.head()
    assert status == 200
    rest = b""
    while size := int(await connection.reader.readuntil(b"\r\n"), 16):
        *lines, rest = (rest + await connection.reader.readexactly(size)).split(b"\n")
        await connection.reader.readexactly(2)
        for line in lines:
            told = json.loads(line)
            if "item" in told:
                yield told["item"]
            elif told:
                assert told["end"]["state"] == "finished", told
    await connection.reader.readexactly(2)
    await asyncio.sleep(0)
