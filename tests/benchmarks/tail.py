"""How long the slowest of many requests take, at half of what the server can do."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import httpx

from tests.benchmarks.load import Apart, apart, arriving, closed, quantile
from tests.benchmarks.measuring import Figure
from tests.benchmarks.servers import NOOP, app_dir, bare, flowdapt

CLIENTS = 8
RATE_SECONDS = 2.0  #: for which the clients ask as fast as they can
TAIL_SECONDS = 8.0  #: for which requests arrive at half of that rate
RUN = "/workflows/noop/run"


async def measure(repeat: int) -> list[Figure]:
    """Find the rate in turns with a bare server, then have requests arrive at half of it."""
    with app_dir() as folder, flowdapt(folder) as ours, bare(folder) as floor, apart() as run:
        httpx.post(f"{ours.address}/workflows/", json=NOOP).raise_for_status()
        turns = [
            (_rate(run, ours.address, RUN), _rate(run, floor.address, "/"))
            for _ in range(repeat + 1)
        ][1:]
        rate = statistics.median(ours for ours, _ in turns)
        bare_rate = statistics.median(floor for _, floor in turns)
        tails = [_tail(run, ours.address, RUN, rate / 2) for _ in range(repeat)]
        bare_tails = [_tail(run, floor.address, "/", bare_rate / 2) for _ in range(repeat)]
    ratio = statistics.median(ours / floor for ours, floor in turns)
    facts = {"ours_per_s": rate, "bare_per_s": bare_rate, "clients": CLIENTS}
    return [
        Figure("tail, rate of bare POST", ratio, 0.4, at_least=True, facts=facts),
        _spread("tail, p99 of p50 at half the rate", tails, 5),
        _spread("tail, the same of bare POST", bare_tails, None),
    ]


def _rate(run: Apart, address: str, path: str) -> float:
    return len(run(closed, address, path, CLIENTS, RATE_SECONDS).result()) / RATE_SECONDS


def _tail(run: Apart, address: str, path: str, rate: float) -> tuple[float, float]:
    taken: Sequence[float] = run(arriving, address, path, rate, TAIL_SECONDS).result()
    return quantile(taken, 0.5), quantile(taken, 0.99)


def _spread(name: str, tails: Sequence[tuple[float, float]], target: float | None) -> Figure:
    p50, p99 = (statistics.median(values) for values in zip(*tails, strict=True))
    ratio = statistics.median(high / low for low, high in tails)
    return Figure(name, ratio, target, facts={"p50_ms": p50 * 1e3, "p99_ms": p99 * 1e3})
