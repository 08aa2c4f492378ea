"""Items of a mapped stage that do nothing, against ``ProcessPoolExecutor.map`` one by one."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor

from tests.benchmarks import stages
from tests.benchmarks.measuring import CORES, Figure, in_turns, seconds
from tests.benchmarks.servers import engine, run, stage, workflow

ITEMS = 10_000
FANOUT = workflow(
    "fanout",
    stage("numbers", "numbers"),
    stage("each", "each", "numbers", type="parameterized"),
    stage("join", "step", "each"),
)


async def measure(repeat: int) -> list[Figure]:
    """Run the whole workflow, from acceptance to result, in turns with the bare pool."""
    with ProcessPoolExecutor(CORES) as pool:
        list(pool.map(stages.each, range(100)))  # its processes are forked before there are threads
        async with engine(FANOUT) as under_test:
            pairs = await in_turns(
                lambda: run(under_test, "fanout", n=ITEMS),
                lambda: list(pool.map(stages.each, range(ITEMS))),
                repeat,
            )
        chunks = max(1, ITEMS // 16)
        chunked = seconds(lambda: list(pool.map(stages.each, range(ITEMS), chunksize=chunks)))
    facts = {
        "items": ITEMS,
        "ours_s": pairs.ours_s,
        "one_by_one_s": pairs.floor_s,
        "chunked_by_hand_s": chunked,
        "items_per_s": ITEMS / pairs.ours_s,
    }
    return [Figure("fanout", 1 / pairs.ratio, 20, at_least=True, facts=facts)]
