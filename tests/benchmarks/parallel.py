"""Items of half a second of processor time each, against an ideal use of all cores."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor

from tests.benchmarks import stages
from tests.benchmarks.measuring import CORES, Figure, in_turns
from tests.benchmarks.servers import engine, run, stage, workflow

ITEMS = 8
PARALLEL = workflow(
    "parallel",
    stage("numbers", "numbers"),
    stage("burn", "burn", "numbers", type="parameterized"),
)


async def measure(repeat: int) -> list[Figure]:
    """Compare with the ideal, and with bare processes that share the machine in the same minute."""
    with ProcessPoolExecutor(CORES) as pool:
        list(pool.map(stages.each, range(100)))  # its processes are forked before there are threads
        async with engine(PARALLEL) as under_test:
            pairs = await in_turns(
                lambda: run(under_test, "parallel", n=ITEMS),
                lambda: list(pool.map(stages.burn, range(ITEMS))),
                repeat,
            )
    rounds = -(-ITEMS // CORES)
    ideal = rounds * stages.BURN_SECONDS
    facts = {"cores": CORES, "ours_s": pairs.ours_s, "bare_s": pairs.floor_s, "ideal_s": ideal}
    return [
        Figure("parallel, of bare processes", pairs.ratio, 1.05, facts=facts),
        Figure("parallel, of ideal", pairs.ours_s / ideal, 1.05),
        Figure("parallel, bare of ideal", pairs.floor_s / ideal),
    ]
