"""What becomes of calls on a cluster of two nodes, beyond what the suites ask of every executor."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import pickle
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from flowdapt_ray import tasks
from flowdapt_testing.desks import Desk, mapped_stage, until
from flowdapt_testing.desks import user_stage as stage
from flowdapt_workers.uses import CPU_WATTS

import flowdapt
from flowdapt.executors import Node
from flowdapt.resources import timestamp
from flowdapt.runs import RunState, StageRecord
from tests.ray_clusters import Kept, RayNodes

# Functions go by value here: processes are shared by all tests that have no user modules.
# ruff: noqa: T201 - what stages write is under test

pytestmark = pytest.mark.anyio

OTHER_VERSION = f'__path__ = {list(flowdapt.__path__)!r}\n__version__ = "0.9"\n'
ALONE = {"node1": 1.0}  #: what one call alone can have, on one of the nodes


async def record_of(desk: Desk, run: Any, condition: Callable[[StageRecord], object]) -> Any:
    """Wait until the record of a run's only stage is so, and return it."""
    async with asyncio.timeout(120):
        while True:
            records = await desk.engine.stages(run.uid)
            if records and condition(records[0]):
                return records[0]
            await asyncio.sleep(0.02)


async def known_nodes(desk: Desk, condition: Callable[[Sequence[Node]], bool]) -> Sequence[Node]:
    """Wait until so much is known of the nodes, and return them."""
    async with asyncio.timeout(120):
        while True:
            if condition(nodes := await desk.executor.nodes()):
                return nodes
            await asyncio.sleep(0.05)


async def second_node(desk: Desk) -> Node:
    """Return the node that has a label."""
    (found,) = [node for node in await desk.executor.nodes() if "node1" in node.resources]
    return found


def shadow_of_flowdapt(folder: Path, source: str) -> Path:
    """Make a folder where a node finds this before flowdapt."""
    (package := folder / "flowdapt").mkdir(parents=True)
    (package / "__init__.py").write_text(source)
    return folder


# Nodes and resources -------------------------------------------------------------------------


async def test_both_nodes_are_listed_with_what_they_have(desk: Desk) -> None:
    nodes = await desk.executor.nodes()

    assert len({node.name for node in nodes}) == 2
    assert [node.resources["cpus"] for node in nodes] == [1, 1]
    assert sorted(node.resources.get("node1", 0) for node in nodes) == [0, 1]
    assert all(node.free["cpus"] <= 1 and node.resources["memory"] > 2**20 for node in nodes)
    assert not any(node.problem for node in nodes)


async def test_resources_choose_the_node_and_the_process_there_is_named(desk: Desk) -> None:
    node = await second_node(desk)

    stored = await desk.run(stage("a", os.getpid, resources={"node1": 0.5, "cpus": 0.5}))

    pid = json.loads(stored.result or b"")
    assert (await desk.record(stored)).worker == f"process {pid} on {node.name}"


async def test_what_no_node_has_is_refused_and_named(desk: Desk) -> None:
    stored = await desk.run(stage("big", os.getpid, resources={"cpus": 3, "node1": 1}))

    assert stored.run.failure is not None
    assert stored.run.failure.type == "NeverFits"
    assert "stage 'big' asks for 3 cpus" in stored.run.failure.message


async def test_what_fits_on_no_node_waits_for_one_and_is_made_again_when_that_is_lost(
    desk: Desk,
    kept: Kept,
    ray_nodes: RayNodes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def make(made: str) -> bytes:
        with open(made, "a") as file:
            file.write("made\n")
        return bytes(1_000_000)

    def wait(held: str, go: str) -> None:
        open(held, "w").close()
        while not os.path.exists(go):
            time.sleep(0.01)

    monkeypatch.setattr(kept, "_elastic", True)
    late = {"late": 1.0}
    made, held, go = (str(tmp_path / name) for name in ("made", "held", "go"))

    run = await desk.begin(
        stage("make", lambda: make(made), resources=late),
        stage("wait", lambda _: wait(held, go), "make", resources=late),
        stage("use", lambda data, _: len(data), "make", "wait"),
    )
    record = await record_of(desk, run, lambda record: record.waiting)
    node = await asyncio.to_thread(ray_nodes.do, "add", resources=late)
    await until(lambda: os.path.exists(held))
    await asyncio.to_thread(ray_nodes.do, "remove", node=node)
    node = await asyncio.to_thread(ray_nodes.do, "add", resources=late)
    open(go, "w").close()
    stored = await asyncio.wait_for(desk.engine.wait(run.uid), 180)
    await asyncio.to_thread(ray_nodes.do, "remove", node=node)

    assert record.waiting == "no node has 1 late; the most that one has is 0"
    assert (stored.run.state, stored.result) == (RunState.FINISHED, b"1000000")
    assert Path(made).read_text() == "made\nmade\n"


# Failures ------------------------------------------------------------------------------------


async def test_the_process_that_died_is_named_with_its_node(desk: Desk) -> None:
    stored = await desk.run(stage("deadly", lambda: os._exit(3), resources=ALONE))

    assert stored.run.failure is not None
    name = (await second_node(desk)).name
    assert f" on {name} was killed, or ended by itself), 3 times" in stored.run.failure.message


async def test_a_module_that_a_node_lacks_is_named_with_the_node_and_what_would_help(
    desk: Desk,
) -> None:
    def each(x: int) -> None:
        import lacking_module  # type: ignore[import-not-found]  # noqa: F401

    names = "|".join(node.name for node in await desk.executor.nodes())
    missing = await desk.run({"name": "a", "target": "lacking_package.f"})
    stored = await desk.run(mapped_stage("each", each, map_on="xs"), xs=[1])

    assert missing.run.failure is not None
    record = await desk.record(stored)
    assert "lacking_module" in record.failures[0].message
    for failure in (missing.run.failure, record.failures[0]):
        assert re.search(rf" on node ({names}); `flowdapt plugins install` puts", failure.message)


async def test_nodes_are_chosen_by_their_labels_and_not_with_another_version(
    ray_nodes: RayNodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shadow = shadow_of_flowdapt(tmp_path / "shadow", OTHER_VERSION)
    monkeypatch.chdir(tmp_path)  # or nodes look for modules where the tests are, first
    selector = {"zone": "in(a, b)", "tier": "!cold"}
    executor = Kept(cluster_address=ray_nodes.address, label_selector=selector)
    add = partial(asyncio.to_thread, ray_nodes.do, "add")
    added = [
        await add(labels={"zone": "a"}, environment={"PYTHONPATH": str(shadow)}),
        await add(labels={"zone": "b"}, resources={"fit": 1}),
        await add(labels={"zone": "b", "tier": "cold"}),
    ]

    desk = await Desk.over(executor, tmp_path)
    try:
        nodes = await known_nodes(desk, lambda nodes: any("0.9" in node.problem for node in nodes))
        stored = await desk.run(mapped_stage("each", lambda x: x, map_on="xs"), xs=list(range(9)))
        refused = await desk.run(stage("big", os.getpid, resources=ALONE))
        record = await desk.record(stored)
    finally:
        await desk.engine.stop()
        await executor.end()
        for node in added:
            await asyncio.to_thread(ray_nodes.do, "remove", node=node)

    other_labels = "its labels are not those that label_selector asks for"
    other_version = (
        f"it has flowdapt 0.9, and the server {flowdapt.__version__}: "
        "install the same version on every node"
    )
    (fit,) = [node for node in nodes if not node.problem]
    assert Counter(node.problem for node in nodes) == {"": 1, other_labels: 3, other_version: 1}
    assert "fit" in fit.resources
    assert (stored.result, record.attempts) == (b"[0,1,2,3,4,5,6,7,8]", 1)
    assert (record.worker or "").endswith(f" on {fit.name}")
    assert refused.run.failure is not None
    assert "stage 'big' asks for 1 node1, and" in refused.run.failure.message


async def test_what_comes_to_a_node_that_cannot_compute_goes_on_elsewhere_and_no_worker_is_blamed(
    ray_nodes: RayNodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    executor = Kept(cluster_address=ray_nodes.address, elastic=True)
    add = partial(asyncio.to_thread, ray_nodes.do, "add", resources={"late": 1})
    shadows = [
        shadow_of_flowdapt(tmp_path / "version", OTHER_VERSION),
        shadow_of_flowdapt(tmp_path / "nothing", "raise ModuleNotFoundError('not installed')"),
    ]
    added, said = [], list[str]()

    desk = await Desk.over(executor, tmp_path)
    try:
        run = await desk.begin(stage("a", os.getpid, resources={"late": 1.0}))
        for shadow in shadows:  # it is given to the first node at once, and then to the next one
            added.append(await add(environment={"PYTHONPATH": str(shadow)}))
            nodes = await known_nodes(
                desk, lambda nodes: sum(bool(node.problem) for node in nodes) == len(added)
            )
        said = [node.problem for node in nodes if node.problem]
        added.append(await add())
        stored = await asyncio.wait_for(desk.engine.wait(run.uid), 180)
        record = await desk.record(stored)
    finally:
        await desk.engine.stop()
        await executor.end()
        for node in added:
            await asyncio.to_thread(ray_nodes.do, "remove", node=node)

    assert stored.run.state is RunState.FINISHED
    assert record.attempts == 1
    assert any(one.startswith("it has flowdapt 0.9, and the server") for one in said)
    assert any(one.startswith("flowdapt cannot be imported there") for one in said)


def test_a_node_with_another_version_computes_nothing_and_says_which_both_are() -> None:
    answered, block = tasks.compute(pickle.dumps((tasks.Setup("0.9", {}, 20), b"", (b"", b""))))

    said = pickle.loads(answered)
    assert block is None
    assert said.startswith("node ")
    assert said.endswith("and the server 0.9: install the same version on every node")


# Identity and growth -------------------------------------------------------------------------


async def test_many_runs_leave_nothing_behind(desk: Desk) -> None:
    def actors_and_functions() -> list[int]:
        from ray._private import state, worker

        client: Any = worker.global_worker
        keys = client.gcs_client.internal_kv_keys(b"RemoteFunction:", b"fun", None)
        asking: Any = state
        return [len(asking.actors()), len(keys)]

    async def runs(count: int) -> None:
        stages = (stage("a", lambda n, k=k: bytes(100_000 + n + k)) for k in range(count))
        more = stage("b", len, "a")
        await asyncio.gather(*(desk.result(one, more, n=1) for one in stages))

    await runs(1)
    before = await desk.result(stage("a", actors_and_functions))

    for _ in range(8):
        await runs(40)

    assert await desk.result(stage("a", actors_and_functions)) == before


# Cancelling ----------------------------------------------------------------------------------


async def test_a_process_whose_import_was_interrupted_is_not_used_again(
    desk: Desk, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    (tmp_path / "slow_module.py").write_text(
        f"import os, time\nif not os.path.exists({str(mark)!r}):\n"
        f"    open({str(mark)!r}, 'w').write(str(os.getpid()))\n    time.sleep(60)\n"
    )

    def imports(folder: str) -> int:
        import sys

        sys.path.insert(0, folder)
        importlib.import_module("slow_module")
        return os.getpid()

    one = stage("a", imports, resources=ALONE)
    run = await desk.begin(one, folder=str(tmp_path))
    await until(lambda: mark.exists() and mark.read_text())

    await desk.engine.cancel(run.uid)

    assert await desk.result(one, folder=str(tmp_path)) != int(mark.read_text())


async def test_what_waits_for_a_node_is_cancelled_before_it_begins(
    desk: Desk, tmp_path: Path
) -> None:
    def holds(mark: str) -> None:
        print("held")
        while not os.path.exists(mark):
            time.sleep(0.01)

    mark = tmp_path / "mark"
    first = await desk.begin(stage("a", holds, resources=ALONE), mark=str(mark))
    await record_of(desk, first, lambda record: record.worker)
    second = await desk.begin(stage("a", holds, resources=ALONE), mark=str(mark))

    await desk.engine.cancel(second.uid)
    cancelled = await desk.engine.wait(second.uid)
    mark.touch()
    stored = await desk.engine.wait(first.uid)

    assert (cancelled.run.state, stored.run.state) == (RunState.CANCELLED, RunState.FINISHED)
    assert [line["message"] for line in await desk.log(stored)] == ["held"]
    assert await desk.log(cancelled) == []


# What stages take and give -------------------------------------------------------------------


async def test_stages_that_take_the_same_array_write_to_memory_of_their_own(desk: Desk) -> None:
    def make() -> Any:
        import numpy as np

        return np.zeros(3_000_000)

    def write(array: Any) -> list[Any]:
        before = float(array.sum())
        array += 1
        base = array
        while not isinstance(base, memoryview):
            base = base.base
        return [before, float(array.sum()), type(base.obj).__name__]

    result = await desk.result(
        stage("make", make),
        stage("one", write, "make"),
        stage("two", write, "make"),
        stage("three", lambda one, two, array: [one, two, array.sum()], "one", "two", "make"),
    )

    assert result == [[0, 3_000_000, "mmap"], [0, 3_000_000, "mmap"], 0]


async def test_a_large_input_goes_to_every_element(desk: Desk) -> None:
    result = await desk.result(
        mapped_stage("each", lambda x, text: [x, len(text)], map_on="xs"),
        xs=list(range(50)),
        text="a" * 1_000_000,
    )

    assert result == [[x, 1_000_000] for x in range(50)]


async def test_a_large_result_of_a_run_is_brought_as_json(desk: Desk) -> None:
    result = await desk.result(stage("a", lambda: ["a" * 1000] * 1000))

    assert result == ["a" * 1000] * 1000


async def test_a_stage_that_forks_answers_once(desk: Desk) -> None:
    def forks() -> int:
        if (pid := os.fork()) == 0:
            return 1
        os.waitpid(pid, 0)
        return 2

    assert await desk.result(stage("a", forks)) == 2


async def test_the_cluster_is_described(desk: Desk, ray_nodes: RayNodes) -> None:
    facts = desk.executor.describe()

    assert facts["address"] == ray_nodes.address
    assert facts["nodes"] == [node.name for node in await desk.executor.nodes()]


async def test_when_where_and_with_how_much_a_stage_was_computed_is_on_record(desk: Desk) -> None:
    functions = desk.defined("""
        def large():
            return len(bytearray(300_000_000))
    """)

    stored = await desk.run(stage("large", functions.large, resources=ALONE))

    record = await desk.record(stored)
    (attempt,) = record.history
    assert (attempt["attempt"], attempt["worker"]) == (1, record.worker)
    assert attempt["node"] == (await second_node(desk)).name
    assert record.finished_at is not None
    assert timestamp(record.started_at) <= attempt["at"] <= timestamp(record.finished_at)
    assert record.used["peak_memory_bytes"] > 300_000_000
    assert record.used["energy_joules"] == pytest.approx(CPU_WATTS * (record.cpu_seconds or 0))


@pytest.mark.parametrize("kind", ["def", "async def"])
async def test_of_attempts_that_fail_it_is_on_record_too(desk: Desk, kind: str) -> None:
    functions = desk.defined(f"""
        import time
        {kind} f():
            end = time.thread_time() + 0.1
            while time.thread_time() < end:
                pass
            raise ValueError(len(bytearray(300_000_000)))
    """)

    stored = await desk.run(stage("f", functions.f, options={"retries": 1}))

    record = await desk.record(stored)
    assert record.state is RunState.FAILED
    assert [one["attempt"] for one in record.history] == [1, 2]
    assert record.worker == record.history[-1]["worker"]
    assert record.used["peak_memory_bytes"] > 300_000_000
    assert 0.2 <= (record.cpu_seconds or 0) < 2
