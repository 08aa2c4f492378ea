"""What is on record of how a stage was computed: when, where, and what that took."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from flowdapt_local.executor import LocalExecutor
from flowdapt_testing.desks import Desk, mapped_stage, until
from flowdapt_testing.desks import user_stage as stage

from flowdapt.runs import RunState, StageRecord

pytestmark = pytest.mark.anyio

MIB = 1024 * 1024


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    executor = LocalExecutor(cpus=1, gpus=2, cpu_watts=10, gpu_watts=100)
    desk = await Desk.over(executor, tmp_path)
    yield desk
    await desk.engine.stop()


async def records(desk: Desk, *stages: Any, **values: Any) -> dict[str, StageRecord]:
    stored = await desk.run(*stages, **values)
    return {record.stage: record for record in await desk.engine.stages(stored.run.uid)}


async def test_the_peak_is_that_of_the_stage_and_not_of_those_before_it(desk: Desk) -> None:
    desk.write("def large(): return len(bytearray(200_000_000))\ndef small(_): return 1")

    seen = await records(desk, stage("large", "large"), stage("small", "small", "large"))

    large, small = (seen[name].used["peak_memory_bytes"] for name in ("large", "small"))
    assert seen["large"].worker == seen["small"].worker
    assert 0 < small < 150 * MIB
    assert large > small + 180 * MIB


async def test_the_peak_of_a_mapped_stage_is_that_of_its_hungriest_element(desk: Desk) -> None:
    desk.write("def each(n): return len(bytearray(n))")

    seen = await records(
        desk, mapped_stage("each", "each", map_on="sizes"), sizes=[1, 200_000_000, 1]
    )

    assert seen["each"].used["peak_memory_bytes"] > 200 * MIB * 0.95


async def test_an_async_stage_knows_its_peak_too(desk: Desk) -> None:
    desk.write("async def large(): return len(bytearray(200_000_000))")

    seen = await records(desk, stage("large", "large"))

    assert seen["large"].used["peak_memory_bytes"] > 180 * MIB


BURNS = """
import asyncio, time
def burn(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass
"""


@pytest.mark.parametrize("kind", ["def", "async def"])
async def test_what_attempts_that_fail_took_counts(desk: Desk, kind: str) -> None:
    desk.write(
        f"{BURNS}{kind} f():\n    burn(0.1)\n    raise ValueError(len(bytearray(2 * 10**8)))"
    )

    seen = await records(desk, stage("f", "f", options={"retries": 1}))

    assert seen["f"].state is RunState.FAILED
    assert 0.2 <= (seen["f"].cpu_seconds or 0) < 1
    assert seen["f"].used["peak_memory_bytes"] > 180 * MIB
    assert seen["f"].used["energy_joules"] == pytest.approx(10 * (seen["f"].cpu_seconds or 0))


async def test_what_elements_took_counts_where_their_stage_fails(desk: Desk) -> None:
    desk.write(f"{BURNS}def each(x):\n    burn(0.03)\n    return 1 // x")
    options = {"map_on": "numbers", "allow_partial_failure": False}

    seen = await records(desk, mapped_stage("each", "each", **options), numbers=[1, 2, 3, 0])

    assert seen["each"].state is RunState.FAILED
    assert 0.12 <= (seen["each"].cpu_seconds or 0) < 1


async def test_what_a_time_limit_stopped_counts(desk: Desk) -> None:
    desk.write(f"{BURNS}def f(): burn(60)")

    seen = await records(desk, stage("f", "f", options={"timeout": 0.3}))

    assert 0.05 < (seen["f"].cpu_seconds or 0) < 5


async def test_of_a_stage_that_is_cancelled_the_attempts_before_count(
    desk: Desk, tmp_path: Path
) -> None:
    desk.write(
        f"{BURNS}import flowdapt, pathlib\n"
        "def f(file):\n"
        "    if flowdapt.get_run_context().attempt == 2:\n"
        "        pathlib.Path(file).touch()\n"
        "        time.sleep(60)\n"
        "    burn(0.1)\n"
        "    raise ValueError"
    )
    begun = tmp_path / "begun"
    run = await desk.begin(stage("f", "f", options={"retries": 1}), file=str(begun))
    await until(begun.exists)

    await desk.engine.cancel(run.uid)

    (record,) = await desk.engine.stages(run.uid)
    assert record.state is RunState.CANCELLED
    assert 0.1 <= (record.cpu_seconds or 0) < 1


async def test_async_functions_take_what_their_own_steps_take(desk: Desk) -> None:
    desk.write(
        f"{BURNS}"
        "async def busy(file):\n"
        "    async def child():\n"
        "        await asyncio.sleep(0.01)\n"
        "        burn(0.1)\n"
        "    await asyncio.gather(child(), child())\n"
        "async def idle(file): await asyncio.sleep(0.5)"
    )

    seen = await records(desk, stage("busy", "busy"), stage("idle", "idle"), file="")

    assert seen["busy"].worker == seen["idle"].worker
    assert 0.2 <= (seen["busy"].cpu_seconds or 0) < 0.5
    assert (seen["idle"].cpu_seconds or 0) < 0.1


async def test_of_what_no_attempt_came_back_from_nothing_is_known(desk: Desk) -> None:
    desk.write("import os\ndef f(): os._exit(1)")

    seen = await records(desk, stage("f", "f"))

    assert (seen["f"].cpu_seconds, seen["f"].used) == (None, {"argument_bytes": 0})


async def test_devices_are_counted_by_how_long_they_were_held(desk: Desk) -> None:
    desk.write("import time\ndef learn(): time.sleep(0.05)\ndef plain(): time.sleep(0.05)")

    seen = await records(
        desk, stage("learn", "learn", resources={"gpus": 0.5}), stage("plain", "plain")
    )

    assert 0.02 < seen["learn"].used["gpu_seconds"] < 1
    assert seen["plain"].used["gpu_seconds"] == 0
    assert seen["learn"].used["energy_joules"] == pytest.approx(
        10 * (seen["learn"].cpu_seconds or 0) + 100 * seen["learn"].used["gpu_seconds"]
    )


async def test_what_moves_is_counted_where_it_is_taken(desk: Desk) -> None:
    desk.write(
        "def make(): return [b'x' * 1000] * 10\n"
        "def each(part): return len(part)\n"
        "def end(lengths, made): return 1"
    )

    seen = await records(
        desk,
        stage("make", "make"),
        mapped_stage("each", "each", "make"),
        stage("end", "end", "each", "make"),
    )

    made, each = seen["make"].result_bytes, seen["each"].result_bytes
    assert made is not None
    assert each is not None
    assert seen["make"].used["argument_bytes"] == 0
    assert seen["each"].used["argument_bytes"] >= 1000
    assert seen["end"].used["argument_bytes"] == made + each


async def test_every_attempt_has_its_time_its_worker_and_its_node(
    desk: Desk, tmp_path: Path
) -> None:
    desk.write(
        "import os, pathlib\n"
        "def once(file):\n"
        "    if not pathlib.Path(file).exists():\n"
        "        pathlib.Path(file).touch()\n"
        "        os._exit(1)"
    )

    seen = await records(desk, stage("once", "once"), file=str(tmp_path / "tried"))

    first, second = seen["once"].history
    assert (first["attempt"], second["attempt"]) == (1, 2)
    assert first["at"] < second["at"]
    assert first["worker"] != second["worker"] == seen["once"].worker
    assert first["node"] == second["node"] == os.uname().nodename


async def test_of_elements_that_are_tried_again_the_stage_has_one_attempt_each(desk: Desk) -> None:
    desk.write(
        "import flowdapt, os\n"
        "def each(x):\n"
        "    tried = flowdapt.get_run_context().attempt\n"
        "    if x == 7 and tried == 1:\n"
        "        os._exit(1)\n"
        "    if tried < 3:\n"
        "        raise ValueError\n"
    )

    seen = await records(
        desk, mapped_stage("each", "each", map_on="n", retries=2), n=list(range(50))
    )

    assert seen["each"].items_failed == 0
    assert [one["attempt"] for one in seen["each"].history] == [1, 2, 3]


@pytest.mark.parametrize("watts", ["much", -1, "inf", None])
def test_a_power_that_is_none_is_refused(watts: Any) -> None:
    with pytest.raises(ValueError, match="gpu_watts must be a number that is not negative"):
        LocalExecutor(gpu_watts=watts)
