"""Ray and Dask under flowdapt, beside the same cluster without it.

Each figure is taken in turns with the bare engine, on the cluster that the bare engine started.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

from flowdapt.engine import Engine
from tests.benchmarks import stages
from tests.benchmarks.measuring import CORES, Figure, Pairs, seconds_of
from tests.benchmarks.servers import HERE, environment, run, server, stage, workflow

ENGINES = ("ray", "dask")
ITEMS = 10_000
STAGES = 100
BURNS = 8
ARRAY = 100  #: MB
WARM = 1

FANOUT = workflow(
    "fanout",
    stage("numbers", "numbers"),
    stage("each", "each", "numbers", type="parameterized"),
    stage("join", "step", "each"),
)
CHAIN = workflow(
    "chain",
    stage("s0", "step"),
    *(stage(f"s{i}", "step", f"s{i - 1}") for i in range(1, STAGES)),
)
PARALLEL = workflow(
    "parallel", stage("numbers", "numbers"), stage("burn", "burn", "numbers", type="parameterized")
)
ARRAYS = workflow("array", stage("send", "send"), stage("receive", "receive", "send"))


async def measure(repeat: int) -> list[Figure]:
    """Measure one engine after the other."""
    return [figure for name in ENGINES for figure in await _of(name, repeat)]


async def _of(name: str, repeat: int) -> list[Figure]:
    with Bare(name).running() as bare:
        async with _engine(name, bare.address) as under_test:
            return [
                await _items(name, bare, under_test, repeat),
                *await _chain(name, bare, under_test, repeat),
                await _parallel(name, bare, under_test, repeat),
                await _array(name, bare, under_test, repeat),
            ]


@asynccontextmanager
async def _engine(name: str, address: str) -> AsyncIterator[Engine]:
    executor = f"services.compute.executor.target={name}"
    where = f"services.compute.executor.cluster_address={address}"
    async with server(FANOUT, CHAIN, PARALLEL, ARRAYS, overrides=(executor, where)) as made:
        yield made.engine


class Bare:
    """The engine without flowdapt, in a process of its own."""

    def __init__(self, name: str) -> None:
        self.name, self.address = name, ""
        self._process: subprocess.Popen[str]

    @contextmanager
    def running(self) -> Iterator[Bare]:
        """Have it up while this is entered."""
        command = [sys.executable, str(HERE / "bare_engines.py"), self.name, str(CORES)]
        self._process = subprocess.Popen(
            command, text=True, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        try:
            self.address = self._read("address")
            yield self
        finally:
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process.wait()

    def seconds(self, what: str, amount: int) -> float:
        """Return how long something takes there."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{what} {amount}\n")
        self._process.stdin.flush()
        return float(self._read("seconds"))

    def _read(self, what: str) -> str:
        assert self._process.stdout is not None
        for line in self._process.stdout:  # the engines say more than they are asked for
            if line.startswith(f"{what} "):
                return line.removeprefix(f"{what} ").strip()
        raise RuntimeError(f"{self.name} without flowdapt ended")


async def _in_turns(
    ours: Callable[[], Awaitable[object]], bare: Callable[[], float], repeat: int
) -> Pairs:
    pairs = [(await seconds_of(ours), bare()) for _ in range(repeat + WARM)][WARM:]
    return Pairs([pair[0] for pair in pairs], [pair[1] for pair in pairs])


async def _items(name: str, bare: Bare, engine: Engine, repeat: int) -> Figure:
    pairs = await _in_turns(
        lambda: run(engine, "fanout", n=ITEMS), lambda: bare.seconds("items", ITEMS), repeat
    )
    facts = {
        "ours_s": pairs.ours_s,
        "one_by_one_s": pairs.floor_s,
        "items_per_s": ITEMS / pairs.ours_s,
    }
    return Figure(f"{name}, {ITEMS:,} items", 1 / pairs.ratio, 10, at_least=True, facts=facts)


async def _chain(name: str, bare: Bare, engine: Engine, repeat: int) -> list[Figure]:
    pairs = await _in_turns(
        lambda: run(engine, "chain"), lambda: bare.seconds("awaited", STAGES), repeat
    )
    at_once = statistics.median(bare.seconds("chain", STAGES) for _ in range(repeat))
    facts = {
        "ours_ms": pairs.ours_s / STAGES * 1e3,
        "bare_ms": pairs.floor_s / STAGES * 1e3,
    }
    return [
        Figure(f"{name}, chain of {STAGES}", pairs.ratio, 1.2, facts=facts),
        Figure(
            f"{name}, chain, of one submitted at once",
            pairs.ours_s / at_once,
            facts={"bare_ms": at_once / STAGES * 1e3},
        ),
    ]


async def _parallel(name: str, bare: Bare, engine: Engine, repeat: int) -> Figure:
    pairs = await _in_turns(
        lambda: run(engine, "parallel", n=BURNS), lambda: bare.seconds("burns", BURNS), repeat
    )
    ideal = -(-BURNS // CORES) * stages.BURN_SECONDS
    facts = {"fastest": ideal / min(pairs.ours), "bare": ideal / pairs.floor_s, "ideal_s": ideal}
    share = ideal / pairs.ours_s
    return Figure(f"{name}, processor time of ideal", share, 0.97, at_least=True, facts=facts)


async def _array(name: str, bare: Bare, engine: Engine, repeat: int) -> Figure:
    ours: list[float] = []

    async def way() -> None:
        result = await run(engine, "array", megabytes=ARRAY)
        ours.append(json.loads(result or b"")[0])

    pairs = await _in_turns(way, lambda: bare.seconds("array", ARRAY), 3 * repeat)
    measured = Pairs(ours[WARM:], pairs.floor)
    facts = {
        "way_ms": measured.ours_s * 1e3,
        "put_and_get_ms": measured.floor_s * 1e3,
        "fastest_ms": min(measured.ours) * 1e3,
    }
    return Figure(f"{name}, {ARRAY} MB handed on", measured.ratio, 1.2, facts=facts)
