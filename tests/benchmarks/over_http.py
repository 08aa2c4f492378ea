"""Runs that do nothing, over HTTP, against a bare POST that commits one row."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable

import httpx

from tests.benchmarks.measuring import Figure, Pairs, seconds
from tests.benchmarks.servers import NOOP, app_dir, bare, flowdapt

BATCH = 40  #: requests to one server before it is the other's turn
CLIENTS = 8
CLIENT_SECONDS = 2.0  #: for which the clients of one batch ask as fast as they can


async def measure(repeat: int) -> list[Figure]:
    """Ask both servers in turns; each is a process of its own, and so are we."""
    with app_dir() as folder, flowdapt(folder) as ours, bare(folder) as floor:
        _apply(ours.address)
        latency = _latencies(ours.address, floor.address, repeat)
        rates = [
            (_rate(ours.address, "/workflows/noop/run"), _rate(floor.address, "/"))
            for _ in range(repeat)
        ]
    ratio = statistics.median(o / f for o, f in rates)
    return [
        Figure(
            "http, p50 of bare POST",
            latency.ratio,
            3,
            facts={"ours_ms": latency.ours_s * 1e3, "bare_ms": latency.floor_s * 1e3},
        ),
        Figure(
            f"http, rate with {CLIENTS} clients",
            ratio,
            0.4,
            at_least=True,
            facts={
                "ours_per_s": statistics.median(o for o, _ in rates),
                "bare_per_s": statistics.median(f for _, f in rates),
            },
        ),
    ]


def _apply(address: str) -> None:
    with httpx.Client(base_url=address) as client:
        client.post("/workflows/", json=NOOP).raise_for_status()


def _latencies(ours: str, floor: str, repeat: int) -> Pairs:
    """Return the median latency of each batch."""
    with httpx.Client(base_url=ours) as one, httpx.Client(base_url=floor) as other:
        asks = (lambda: _post(one, "/workflows/noop/run"), lambda: _post(other, "/"))
        for ask in asks:
            _p50(ask)
        turns = [[_p50(ask) for ask in asks] for _ in range(repeat * 2)]
    return Pairs(*(list(times) for times in zip(*turns, strict=True)))


def _p50(ask: Callable[[], None]) -> float:
    return statistics.median(seconds(ask) for _ in range(BATCH))


def _post(client: httpx.Client, path: str) -> None:
    client.post(path, json={}).raise_for_status()


def _rate(address: str, path: str) -> float:
    """Return answers a second to several clients at once."""
    until = time.perf_counter() + CLIENT_SECONDS
    answers: list[int] = []

    def ask() -> None:
        count = 0
        with httpx.Client(base_url=address) as client:
            while time.perf_counter() < until:
                _post(client, path)
                count += 1
        answers.append(count)

    threads = [threading.Thread(target=ask) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(answers) / CLIENT_SECONDS
