"""What the Dask executor computes, and where."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from flowdapt_dask.executor import DaskExecutor
from flowdapt_testing.benches import Bench
from flowdapt_testing.desks import Desk, mapped_stage, until
from flowdapt_testing.desks import user_stage as stage
from flowdapt_workers.uses import GPU_WATTS

from flowdapt.errors import NeverFits
from flowdapt.executors import Host
from flowdapt.resources import timestamp
from flowdapt.runs import RunState
from tests import dask_clusters

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dask_clusters.DaskServers]:
    two = {"nthreads": 2, "resources": {"GPU": 2, "disk": 1}}
    with dask_clusters.running(tmp_path_factory.mktemp("dask"), one={}, two=two) as servers:
        yield servers


async def test_workers_are_listed_with_what_they_have(desk: Desk) -> None:
    nodes = {node.name: node for node in await desk.executor.nodes()}

    assert set(nodes) == {"one", "two"}
    assert (nodes["one"].resources["cpus"], nodes["one"].resources["gpus"]) == (1, 0)
    assert nodes["two"].resources.items() >= {"cpus": 2.0, "gpus": 2.0, "disk": 1.0}.items()
    assert all(node.free == node.resources for node in nodes.values())
    assert desk.executor.describe()["dashboard_url"].endswith("/status")


async def test_a_stage_runs_where_it_fits(desk: Desk) -> None:
    desk.write("import os\ndef where(): return os.getpid()")
    amounts = [{"cpus": 2}, {"gpus": 0.5}, {"gpus": 2, "cpus": 0.1}, {"disk": 1}]

    stored = await desk.run(
        *(stage(f"s{i}", "where", resources=wanted) for i, wanted in enumerate(amounts))
    )

    stages = await desk.engine.storage.list_stages(stored.run.uid)
    assert [str(record.worker).rpartition(" ")[2] for record in stages] == ["two"] * 4


@pytest.mark.parametrize(
    ("resources", "said"),
    [
        ({"cpus": 3}, "stage 'big' asks for 3 cpus"),
        ({"gpus": 4}, "stage 'big' asks for 4 gpus"),
        ({"tape": 1}, "stage 'big' asks for 1 tape"),
    ],
)
async def test_what_never_fits_names_the_shortage(
    desk: Desk, resources: dict[str, float], said: str
) -> None:
    stored = await desk.run(stage("big", "any", resources=resources))

    assert stored.run.failure is not None
    assert said in stored.run.failure.message
    assert NeverFits.__name__ == stored.run.failure.type


async def test_fractions_of_a_processor_are_shared(desk: Desk, tmp_path: Path) -> None:
    desk.write(
        """
        import threading, pathlib
        def meet(folder, x):
            pathlib.Path(folder, str(x)).touch()
            while len(list(pathlib.Path(folder).iterdir())) < 6:
                threading.Event().wait(0.01)
            return x
        """
    )
    folder = tmp_path / "met"
    folder.mkdir()

    runs = [
        desk.result(stage("a", "meet", resources={"cpus": 0.5}), folder=str(folder), x=x)
        for x in range(6)
    ]

    assert await asyncio.gather(*runs) == list(range(6))


async def test_async_stages_wait_side_by_side(desk: Desk, tmp_path: Path) -> None:
    folder = tmp_path / "met"
    folder.mkdir()

    async def waits(folder: str, x: int) -> int:
        Path(folder, str(x)).touch()
        while len(list(Path(folder).iterdir())) < 40:  # noqa: ASYNC110 - files set no event
            await asyncio.sleep(0.02)
        return x

    runs = (desk.result(stage("a", waits), folder=str(folder), x=x) for x in range(40))

    assert await asyncio.gather(*runs) == list(range(40))


async def test_runs_at_once_do_not_mix_functions_of_one_name(desk: Desk) -> None:
    found = await asyncio.gather(
        *(desk.result(stage("same", lambda x, k=k: [x, k]), x=k) for k in range(200))
    )

    assert found == [[k, k] for k in range(200)]


async def test_large_results_go_from_worker_to_worker(desk: Desk) -> None:
    desk.write(
        """
        import os
        def make(): return bytearray(3_000_000)
        def change(data):
            data[0] += 1
            return data
        def total(a, b, first): return [a[0], b[0], first[0], len(a)]
        """
    )

    stored = await desk.run(
        stage("make", "make", resources={"disk": 1}),
        stage("one", "change", "make"),
        stage("other", "change", "make", resources={"cpus": 2}),
        stage("total", "total", "one", "other", "make"),
    )

    assert stored.result == b"[1,1,0,3000000]"


async def test_elements_of_a_large_list_are_computed_on_all_workers(desk: Desk) -> None:
    desk.write(
        """
        import time, socket, os
        def make(): return [bytes(20_000) for _ in range(60)]
        def work(x):
            time.sleep(0.02)
            return os.getppid()
        """
    )

    found = await desk.result(stage("make", "make"), mapped_stage("each", "work", "make"))

    assert len(found) == 60
    assert len(set(found)) == 2


async def test_edited_code_counts_for_the_next_run(desk: Desk) -> None:
    source = "import time\ndef version(*_):\n    time.sleep({0})\n    return {1}"
    desk.write(source.format(0.3, 1))
    first = await desk.begin(stage("a", "version"), stage("b", "version", "a"))
    desk.write(source.format(0, 2))

    assert await desk.result(stage("a", "version"), stage("b", "version", "a")) == 2
    assert (await desk.ended(first)).result == b"1"


async def test_what_libraries_print_belongs_to_the_run(desk: Desk) -> None:
    desk.write("import os\ndef speaks():\n    print('one')\n    os.system('echo two')")

    stored = await desk.run(stage("a", "speaks"))

    assert sorted(line["message"] for line in await desk.log(stored)) == ["one", "two"]


async def test_lines_come_while_a_stage_is_computed(desk: Desk, tmp_path: Path) -> None:
    desk.write(
        """
        import pathlib, threading
        def speaks(path):
            print("begun")
            while not pathlib.Path(path).exists():
                threading.Event().wait(0.01)
        """
    )
    run = await desk.begin(stage("a", "speaks"), path=str(tmp_path / "go"))

    async with asyncio.timeout(60):
        while not await desk.engine.read_log(run.uid, limit=10):  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.01)
    (tmp_path / "go").touch()
    assert (await desk.ended(run)).run.state is RunState.FINISHED


async def test_a_module_that_is_missing_is_named_with_the_node_and_what_helps(desk: Desk) -> None:
    desk.write("def needs():\n    import no_such_library")

    whole = await desk.run(stage("a", "needs", resources={"disk": 1}))
    inside = await desk.run({"name": "b", "target": "no_such_plugin.f", "resources": {"disk": 1}})

    for stored, module in ((whole, "no_such_library"), (inside, "no_such_plugin")):
        assert stored.run.failure is not None
        said = stored.run.failure.message
        assert module in said
        assert "on node two" in said
        assert "flowdapt plugins install" in said


async def test_a_result_that_cannot_be_pickled_fails_the_stage(desk: Desk) -> None:
    desk.write("import threading\ndef lock(): return threading.Lock()")

    stored = await desk.run(stage("a", "lock"))

    assert stored.run.failure is not None
    assert stored.run.failure.type == "ResultNotPicklable"
    assert "lock" in stored.run.failure.message
    assert await desk.result(stage("a", lambda: 1)) == 1


async def test_a_large_input_and_result_go_through(desk: Desk) -> None:
    text = "x" * 200_000

    assert await desk.result(stage("a", lambda text: text + "y"), text=text) == text + "y"


async def test_what_fits_on_no_node_waits_where_nodes_may_join(
    tmp_path: Path, servers: dask_clusters.DaskServers
) -> None:
    bench = Bench(DaskExecutor(cluster_address=servers.address, elastic=True))
    host = Host(app_dir=tmp_path, on_progress=bench.progress.append)
    await bench.executor.start(host)
    big = {"name": "big", "target": lambda: 5, "resources": {"tape": 2}}

    computing = asyncio.create_task(bench.compute(big))
    await until(lambda: bench.progress)
    assert bench.progress[-1].waiting == "no node has 2 tape; the most that one has is 0"
    await asyncio.to_thread(servers.add, "three", resources={"tape": 2})

    assert await asyncio.wait_for(computing, 30) == 5
    await bench.executor.stop()
    await asyncio.to_thread(servers.workers["three"].stop)


async def test_stages_that_only_wait_take_no_processor(desk: Desk, tmp_path: Path) -> None:
    desk.write("""
        import asyncio, os
        async def waits(mark):
            while not os.path.exists(mark): await asyncio.sleep(0.02)
        def fine(): return 1
    """)
    mark = tmp_path / "mark"
    runs = [await desk.begin(stage("a", "waits"), mark=str(mark)) for _ in range(6)]

    async with asyncio.timeout(120):  # more of them wait than there are processors
        while not all([(await desk.engine.stages(run.uid))[0].worker for run in runs]):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        while any(n.free["cpus"] < n.resources["cpus"] for n in await desk.executor.nodes()):  # noqa: ASYNC110
            await asyncio.sleep(0.05)

    assert await desk.result(stage("b", "fine")) == 1
    mark.touch()
    assert {(await desk.ended(run)).run.state for run in runs} == {RunState.FINISHED}


async def test_when_where_and_with_how_much_a_stage_was_computed_is_on_record(desk: Desk) -> None:
    desk.write("import time\ndef learn(): time.sleep(0.05); return len(bytearray(200_000_000))")

    stored = await desk.run(stage("learn", "learn", resources={"gpus": 0.5}))

    record = await desk.record(stored)
    (attempt,) = record.history
    assert (attempt["attempt"], attempt["worker"], attempt["node"]) == (1, record.worker, "two")
    assert record.finished_at is not None
    assert timestamp(record.started_at) <= attempt["at"] <= timestamp(record.finished_at)
    assert record.used["peak_memory_bytes"] > 200_000_000
    assert record.used["gpu_seconds"] > 0.02
    assert record.used["energy_joules"] > 0.02 * GPU_WATTS


async def test_of_attempts_that_fail_it_is_on_record_too(desk: Desk) -> None:
    desk.write(
        "import time\ndef f():\n    time.sleep(0.05)\n    raise ValueError(bytearray(2 * 10**8)[0])"
    )

    stored = await desk.run(stage("f", "f", resources={"gpus": 0.5}, options={"retries": 1}))

    record = await desk.record(stored)
    assert record.state is RunState.FAILED
    assert [one["attempt"] for one in record.history] == [1, 2]
    assert record.worker == record.history[-1]["worker"]
    assert record.used["peak_memory_bytes"] > 200_000_000
    assert record.used["gpu_seconds"] > 0.04
