"""Stages that wait for runs which they started, on a cluster whose processors are all taken."""

from __future__ import annotations

import statistics
import time

import pytest
from flowdapt_testing.desks import Desk
from flowdapt_testing.desks import user_stage as stage

from flowdapt.plugins import offered

pytestmark = pytest.mark.anyio

SOURCE = """
import flowdapt

def child():
    return 1

def parent(depth):
    if depth > 1:
        return flowdapt.call_workflow("parent", {"depth": depth - 1}) + 1
    return flowdapt.call_workflow("child") + 1
"""


async def test_what_a_waiting_stage_waits_for_begins_at_once(desk: Desk) -> None:
    desk.write(SOURCE)
    offered("policies", "calls")(desk.engine)
    for name in ("child", "parent"):
        spec = {"stages": [stage(name, name)]}
        await desk.engine.apply({"kind": "workflow", "metadata": {"name": name}, "spec": spec})

    async def took(name: str, depth: int) -> float:
        begun = time.perf_counter()
        ended = await desk.result(stage("a", name), **({"depth": depth} if depth else {}))
        assert ended == depth + 1
        return time.perf_counter() - begun

    await took("parent", 4)  # their processes are there now
    alone = statistics.median([await took("child", 0) for _ in range(5)])
    nested = statistics.median([await took("parent", 4) for _ in range(5)])

    # Five runs, each of which costs a few times more than one alone. Ray by itself lets what they
    # wait for begin a second later.
    assert nested < 60 * alone
