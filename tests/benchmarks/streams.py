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

from tests.benchmarks.load import apart, arriving, pinging, quantile
from tests.benchmarks.measuring import Figure
from tests.benchmarks.servers import Process, app_dir, bare, flowdapt, stage, workflow
from tests.benchmarks.wire import Connection

RUNS = 100  #: of which each yields a few items, with pauses
ITEMS = 5
PAUSE_SECONDS = 0.004
PING_SECONDS = 4.0
MANY = 100_000  #: items of one run, without pauses
SLOW = 8  #: callers of one run who read nothing
FLOOD = 640  #: items of 100 kB that it yields
FLOOD_SECONDS = 6.0  #: and then waits
RATE = 200.0  #: requests a second to a workflow of three stages
RATE_SECONDS = 6.0
THREE = "/workflows/three/run"
WORKFLOWS = [
    workflow("clock", stage("clock", "clock")),
    workflow("counted", stage("counted", "counted")),
    workflow("flood", stage("flood", "flood")),
    workflow("three", stage("a", "step"), stage("b", "step", "a"), stage("c", "step", "b")),
]


async def measure(repeat: int) -> list[Figure]:
    """Read the items of many short runs and of a long one, then have requests arrive."""
    with app_dir() as folder, flowdapt(folder) as server, bare(folder) as floor, apart() as run:
        for one in WORKFLOWS:
            httpx.post(f"{server.address}/workflows/", json=one).raise_for_status()
        firsts: list[float] = []
        later: list[float] = []
        pings: list[float] = []
        for _ in range(repeat):
            pings += run(pinging, server.address, PING_SECONDS, PAUSE_SECONDS).result()
            first, others = run(_delays, server.address).result()
            firsts += first
            later += others
        rates = [run(_rate, server.address).result() for _ in range(repeat)]
        grown = await _grown(server)
        calls: list[float] = []
        posts: list[float] = []
        for _ in range(repeat):
            for told, address, path in (calls, server.address, THREE), (posts, floor.address, "/"):
                told.extend(run(arriving, address, path, RATE, RATE_SECONDS).result())
    return [
        _spread("streams, p99 to a first item", firsts, 5, ping=pings),
        _spread("streams, p99 to later ones", later, 5, ping=pings),
        Figure("streams, items a second", statistics.median(rates), unit="/s"),
        Figure(
            "streams, MiB a slow caller", grown, 10, unit="MiB", facts={"yielded_mib": FLOOD / 10.5}
        ),
        _spread(f"3 stages, p99 at {RATE:g}/s", calls, 20, bare=posts),
    ]


def _spread(name: str, taken: list[float], target: float, **floors: list[float]) -> Figure:
    facts: dict[str, Any] = {"p50_ms": quantile(taken, 0.5) * 1e3, "n": len(taken)}
    for floor, times in floors.items():  # of the same minutes: the machine may be busy
        facts |= {f"{floor}_p{q * 100:g}_ms": quantile(times, q) * 1e3 for q in (0.5, 0.99)}
    return Figure(name, quantile(taken, 0.99) * 1e3, target, unit="ms", facts=facts)


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


async def _grown(server: Process) -> float:
    """Return how much memory a caller takes who reads nothing."""
    given = {"n": FLOOD, "seconds": FLOOD_SECONDS}
    before = _private(server)
    callers = [await Connection.open(server.address) for _ in range(SLOW)]
    headers = {"accept": "application/x-ndjson", "idempotency_key": "slow"}
    for caller in callers:
        await caller.send("POST", "/workflows/flood/run", body=given, **headers)
    await asyncio.sleep(FLOOD_SECONDS / 2)
    grown = _private(server) - before
    for caller in callers:
        caller.writer.transport.abort()
    await asyncio.sleep(FLOOD_SECONDS)
    return grown / SLOW


def _private(server: Process) -> float:
    return float(server.tree()[0].memory_full_info().uss / 2**20)


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
