"""A page of runs over HTTP, beside a hundred thousand that are stored."""

from __future__ import annotations

import asyncio
import statistics
from pathlib import Path

import httpx
from flowdapt_sqlite.storage import SqliteStorage

from tests.benchmarks.measuring import Figure, seconds
from tests.benchmarks.servers import NOOP, app_dir, flowdapt
from tests.benchmarks.storage import RUNS, fill

TIMES = 50  #: requests of each turn
PAGES = (10, 100)
V1 = {"X-API-Version": "workflow_run.v1"}


async def measure(repeat: int) -> list[Figure]:
    """Fill a database through its own storage, and ask a server over it."""
    with app_dir() as folder:
        await _fill(folder)
        with flowdapt(folder) as server:
            return await asyncio.to_thread(_ask, server.address, repeat)


async def _fill(folder: Path) -> None:
    storage = SqliteStorage(app_dir=folder)
    await storage.start()
    await fill(storage)
    await storage.stop()


def _ask(address: str, repeat: int) -> list[Figure]:
    figures = []
    with httpx.Client(base_url=address, headers=V1) as client:
        for name in ("workflow-3", "workflow-x"):
            named = {**NOOP, "metadata": {"name": name}}
            client.post("/workflows/", json=named, headers={"X-API-Version": "workflow.v1"})
        for size in PAGES:
            for of, path in (
                ("all", f"/runs/?limit={size}"),
                ("all, failed", f"/runs/?limit={size}&state=failed"),
                ("a workflow", f"/workflows/workflow-3/run?limit={size}"),
                ("a workflow, none", f"/workflows/workflow-x/run?limit={size}"),
            ):
                name = f"pages, {size} of {of}"
                figures.append(_page(client, name, path, repeat))
        figures.append(_second(client, repeat))
    return figures


def _page(client: httpx.Client, name: str, path: str, repeat: int) -> Figure:
    answer = client.get(path).raise_for_status()

    def ask() -> None:
        for _ in range(TIMES):
            client.get(path).raise_for_status()

    taken = statistics.median(seconds(ask) for _ in range(repeat)) / TIMES
    facts = {"bytes": len(answer.content), "ping_ms": _ping(client) * 1e3, "stored": RUNS}
    return Figure(name, taken * 1e3, 5, unit="ms", facts=facts)


def _second(client: httpx.Client, repeat: int) -> Figure:
    """Ask for what follows the first half of all runs, which is found without counting them."""
    query = {"limit": "1000"}
    for _ in range(RUNS // 2 // 1000):
        query["cursor"] = client.get("/runs/", params=query).raise_for_status().json()["next"]
    cursor = query["cursor"]
    return _page(client, "pages, 10 from the middle", f"/runs/?limit=10&cursor={cursor}", repeat)


def _ping(client: httpx.Client) -> float:
    return statistics.median(seconds(lambda: client.get("/")) for _ in range(TIMES))
