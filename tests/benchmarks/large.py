"""By how much a result of 10 MB delays everybody else."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable

from tests.benchmarks.load import Apart, apart, pinging, quantile
from tests.benchmarks.measuring import Figure
from tests.benchmarks.servers import app_dir, flowdapt, stage, workflow
from tests.benchmarks.wire import Connection

SECONDS = 4.0  #: for which others ask, of each turn
PAUSE_SECONDS = 0.001  #: between the answer to one of them and the next request
LARGE = workflow("large", stage("large", "large"))


async def measure(repeat: int) -> list[Figure]:
    """Ping the server while it makes, stores and sends large results, in turns with when not."""
    with app_dir() as folder, flowdapt(folder) as server, apart() as run:
        connection = await Connection.open(server.address)
        (await connection.ask("POST", "/workflows/", body=LARGE)).json()
        done = 0

        async def nothing() -> None:
            await asyncio.sleep(0)

        async def large() -> None:
            nonlocal done
            made = await connection.ask("POST", "/workflows/large/run", body={})
            uid = made.json()["uid"]
            assert len(made.body) > 10_000_000
            assert len((await connection.ask("GET", f"/workflows/run/{uid}")).body) > 10_000_000
            done += 1

        await large()  # the worker is there, and knows its modules
        quiet, loaded = [], []
        for _ in range(repeat):
            quiet.append(await _meanwhile(run, server.address, nothing))
            loaded.append(await _meanwhile(run, server.address, large))
        connection.close()
    facts = {
        "quiet_p99_ms": _of(quiet, 0.99),
        "loaded_p99_ms": _of(loaded, 0.99),
        "quiet_max_ms": _of(quiet, 1),
        "loaded_max_ms": _of(loaded, 1),
        "results_a_turn": done / repeat,
        "pings_a_turn": sum(map(len, loaded)) / repeat,
    }
    return [
        Figure(
            f"large, {name} of others grows by",
            statistics.median(
                (quantile(with_, q) - quantile(without, q)) * 1e3
                for with_, without in zip(loaded, quiet, strict=True)
            ),
            50,
            unit="ms",
            facts=facts if q == 1 else {},
        )
        for name, q in (("max", 1.0), ("p99", 0.99))
    ]


async def _meanwhile(run: Apart, address: str, work: Callable[[], Awaitable[None]]) -> list[float]:
    """Return how long pings took while some work was done again and again."""
    pings = asyncio.wrap_future(run(pinging, address, SECONDS, PAUSE_SECONDS))
    until = time.monotonic() + SECONDS
    while not pings.done() and time.monotonic() < until:
        await work()
        await asyncio.sleep(0.05)
    taken: list[float] = await pings
    return taken


def _of(turns: list[list[float]], q: float) -> float:
    return statistics.median(quantile(taken, q) for taken in turns) * 1e3
