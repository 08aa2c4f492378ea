"""What an idle server and its workers keep in memory, before the first run and after some."""

from __future__ import annotations

import time
from typing import Any

import httpx
import psutil

from tests.benchmarks.measuring import Figure
from tests.benchmarks.servers import NOOP, Process, app_dir, flowdapt

SETTLE_SECONDS = 2.0
RUNS = 200
MIB = 2**20


async def measure(repeat: int) -> list[Figure]:
    """Add up the memory of a server's processes; pages that they share count once."""
    with app_dir() as folder, flowdapt(folder) as server:
        idle = _pss(server)
        facts = _by_process(server)
        _use(server)
        used = _pss(server)
    return [
        Figure("memory, idle", idle, 120, unit="MiB", facts=facts),
        Figure(f"memory, after {RUNS} runs", used, unit="MiB"),
    ]


def _use(server: Process) -> None:
    with httpx.Client(base_url=server.address) as client:
        client.post("/workflows/", json=NOOP).raise_for_status()
        for _ in range(RUNS):
            client.post("/workflows/noop/run", json={}).raise_for_status()


def _pss(server: Process) -> float:
    """Return the server's memory once it has been left alone for a while."""
    time.sleep(SETTLE_SECONDS)
    return sum(_of(process) for process in server.tree())


def _of(process: psutil.Process) -> float:
    return float(process.memory_full_info().pss / MIB)


def _by_process(server: Process) -> dict[str, Any]:
    tree = server.tree()
    return {
        "processes": len(tree),
        "server_mib": _of(tree[0]),
        "others_mib": "+".join(f"{_of(process):.1f}" for process in tree[1:]),
    }
