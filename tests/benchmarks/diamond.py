"""Slow-fast beside fast-slow: nobody waits for a level, so both take the time of one branch."""

from __future__ import annotations

import statistics
from functools import partial

from tests.benchmarks.measuring import Figure, seconds_of
from tests.benchmarks.servers import engine, run, stage, workflow

BRANCH = workflow(
    "branch",
    stage("start", "step"),
    stage("slow", "slow", "start"),
    stage("fast", "step", "slow"),
    stage("join", "join", "fast"),
)
DIAMOND = workflow(
    "diamond",
    stage("start", "step"),
    stage("slow-1", "slow", "start"),
    stage("fast-1", "step", "slow-1"),
    stage("fast-2", "step", "start"),
    stage("slow-2", "slow", "fast-2"),
    stage("join", "join", "fast-1", "slow-2"),
)


async def measure(repeat: int) -> list[Figure]:
    """Run the diamond in turns with one branch of it."""
    async with engine(BRANCH, DIAMOND) as under_test:
        turns = [
            [await seconds_of(partial(run, under_test, name)) for name in names]
            for names in [("diamond", "branch")] * (repeat + 1)
        ][1:]
    diamond, branch = (statistics.median(times) for times in zip(*turns, strict=True))
    ratio = statistics.median(ours / floor for ours, floor in turns)
    facts = {"diamond_s": diamond, "branch_s": branch}
    return [Figure("diamond", ratio, 1.05, facts=facts)]
