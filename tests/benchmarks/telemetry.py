"""What it costs to export a trace of every run, and the metrics."""

from __future__ import annotations

import statistics

import httpx

from tests.benchmarks.load import apart, closed, quantile
from tests.benchmarks.measuring import Figure
from tests.benchmarks.servers import NOOP, app_dir, collector, flowdapt

SECONDS = 2.0  #: of each turn
RUN = "/workflows/noop/run"


async def measure(repeat: int) -> list[Figure]:
    """Ask a server that exports in turns with one that does not, by one client and by eight."""
    with (
        app_dir() as folder,
        app_dir() as other,
        collector(folder) as sink,
        flowdapt(folder, "telemetry.enabled=true", f"telemetry.endpoint={sink.address}") as on,
        flowdapt(other) as off,
        apart() as run,
    ):
        for server in (on, off):
            httpx.post(f"{server.address}/workflows/", json=NOOP).raise_for_status()
        turns = {
            clients: [
                [
                    run(closed, server.address, RUN, clients, SECONDS).result()
                    for server in (on, off)
                ]
                for _ in range(repeat + 1)
            ][1:]
            for clients in (1, 8)
        }
        spans = httpx.get(sink.address).json()
    p50 = [[quantile(taken, 0.5) for taken in turn] for turn in turns[1]]
    rates = [[len(taken) / SECONDS for taken in turn] for turn in turns[8]]
    return [
        Figure(
            "telemetry, p50 of without",
            statistics.median(with_ / without for with_, without in p50),
            facts={
                "on_ms": statistics.median(turn[0] for turn in p50) * 1e3,
                "off_ms": statistics.median(turn[1] for turn in p50) * 1e3,
            },
        ),
        Figure(
            "telemetry, rate of without",
            statistics.median(with_ / without for with_, without in rates),
            at_least=True,
            facts={
                "on_per_s": statistics.median(turn[0] for turn in rates),
                "off_per_s": statistics.median(turn[1] for turn in rates),
                "requests_exported": spans["requests"],
            },
        ),
    ]
