"""Worker processes: what happens when they die, are slow, speak or share the machine."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from flowdapt_embedded.memory import MemoryStorage
from flowdapt_local import dispatch, insisting
from flowdapt_local.executor import LocalExecutor, local
from flowdapt_local.ledger import Ledger
from flowdapt_memory.owners import OwnMemory
from flowdapt_testing.desks import Desk, mapped_stage, until
from flowdapt_testing.desks import user_stage as stage
from flowdapt_testing.stopping import SLEEPS
from flowdapt_workers.crew import Crew
from flowdapt_workers.inline import InlineExecutor
from flowdapt_workers.parts import Woven
from flowdapt_workers.processes import Kind, Process
from flowdapt_workers.spool import Spool
from flowdapt_workers.targets import built_in_types

from flowdapt.context import Places
from flowdapt.engine import Engine
from flowdapt.errors import NeverFits
from flowdapt.events import STAGE_CHANGED
from flowdapt.executors import Host
from flowdapt.plugins import offered
from flowdapt.resources import Workflow
from flowdapt.runs import RunState
from flowdapt.snapshots import Root, Snapshots

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def options() -> dict[str, Any]:
    return {"cpus": 2}


@pytest.fixture
async def desk(tmp_path: Path, options: dict[str, Any]) -> AsyncIterator[Desk]:
    desk = await Desk.over(LocalExecutor(**options), tmp_path)
    yield desk
    await desk.engine.stop()


@pytest.fixture
async def placed_desk(tmp_path: Path, options: dict[str, Any]) -> AsyncIterator[Desk]:
    """One whose stages know where objects are."""
    memory = OwnMemory(app_dir=tmp_path)
    places = Places(memory.address, None)
    desk = await Desk.over(LocalExecutor(**options), tmp_path, places=places)
    yield desk
    await desk.engine.stop()
    memory.close()


def executor_of(desk: Desk) -> LocalExecutor:
    assert isinstance(desk.executor, LocalExecutor)
    return desk.executor


def crew_of(desk: Desk) -> Crew:
    """Return the worker processes there are."""
    return executor_of(desk)._at_work.crew


def folders_of_runs(desk: Desk) -> set[str]:
    memory: Any = executor_of(desk)._spool.memory
    return memory.arena.namespaces()  # type: ignore[no-any-return]


# Workers that die ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("deed", "cause"),
    [
        ("os._exit(3)", "exited with status 3"),
        ("os.kill(os.getpid(), 9)", "killed by SIGKILL"),
        ("__import__('ctypes').string_at(0)", "killed by SIGSEGV"),
    ],
)
async def test_a_run_whose_stage_kills_its_worker_fails_and_names_stage_and_cause(
    desk: Desk, deed: str, cause: str
) -> None:
    desk.write(f"import os\ndef dies(): {deed}\ndef fine(): return 1")

    stored = await desk.run(stage("deadly", "dies"))

    assert stored.run.failure is not None
    assert stored.run.failure.type == "WorkerLost"
    assert stored.run.failure.message == (
        f"stage 'deadly' lost its worker process ({cause}), 3 times in a row"
    )
    assert await desk.result(stage("a", "fine")) == 1


async def test_the_pool_heals_when_the_process_that_forks_workers_is_killed(desk: Desk) -> None:
    desk.write("def fine(): return 1")
    assert await desk.result(stage("a", "fine")) == 1

    zygote = crew_of(desk)._zygote._process
    assert zygote is not None
    zygote.kill()

    assert [await desk.result(stage("a", "fine")) for _ in range(5)] == [1] * 5


async def test_a_worker_is_made_even_if_nobody_has_heard_yet_that_what_forks_them_is_dead(
    desk: Desk,
) -> None:
    desk.write("def fine(): return 1")
    assert await desk.result(stage("a", "fine")) == 1
    crew = crew_of(desk)
    zygote = crew._zygote._process
    assert zygote is not None
    zygote.kill()
    zygote.wait()  # and the loop had no turn

    process = await crew.fork(Kind())

    assert not process.gone
    crew.close(process)


async def test_what_forks_workers_may_be_killed_again_and_again_as_it_starts(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    crew = crew_of(desk)
    zygote = crew._zygote
    start, killed = zygote.start, list[int]()

    async def start_and_die() -> None:
        await start()
        if len(killed) < 6 and zygote._process is not None:
            killed.append(zygote._process.pid)
            zygote._process.kill()
            zygote._process.wait()

    monkeypatch.setattr(zygote, "start", start_and_die)

    process = await crew.fork(Kind())

    assert not process.gone
    assert len({*killed}) == 6
    crew.close(process)


class TestManyWorkers:
    @pytest.fixture
    def options(self) -> dict[str, Any]:
        return {"cpus": 6}

    async def test_workers_that_are_killed_before_their_first_call_are_no_reason_to_give_up(
        self, desk: Desk
    ) -> None:
        desk.write("def fine(): return 1")
        workers = crew_of(desk).all
        await until(lambda: len(workers) == 6 and all(worker.heard for worker in workers))

        for worker in tuple(workers):
            os.kill(worker.pid, signal.SIGKILL)
        await until(lambda: not workers)

        assert await desk.result(stage("a", "fine")) == 1


async def test_a_worker_that_is_dead_before_it_is_known_is_given_nothing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    crew = crew_of(desk)
    await until(lambda: len(crew.all) == 2)  # the first of them, which know no such module
    desk.write("def fine(): return 1")
    zygote = crew._zygote
    connect = zygote._connect
    killed: list[Process] = []

    async def connect_once_it_is_dead(process: Process, *ends: Any) -> None:
        if not killed:
            killed.append(process)
            os.kill(process.pid, signal.SIGKILL)
            await asyncio.shield(process.exited)
        await connect(process, *ends)

    monkeypatch.setattr(zygote, "_connect", connect_once_it_is_dead)

    assert await desk.result(stage("a", "fine")) == 1
    assert len(killed) == 1


async def test_what_waits_for_a_worker_fails_where_none_can_be_made(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*facts: object) -> None:
        raise OSError("too many open files")

    monkeypatch.setattr(crew_of(desk)._zygote, "fork", refuse)
    desk.write("def fine(): return 1")  # and for this code there is no worker yet

    stored = await desk.run(stage("a", "fine"))

    assert stored.run.failure is not None
    assert "too many open files" in stored.run.failure.message
    monkeypatch.undo()
    assert await desk.result(stage("a", "fine")) == 1


async def test_a_module_that_cannot_be_preloaded_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "unlucky.py").write_text("raise RuntimeError('not today')")
    monkeypatch.syspath_prepend(tmp_path)
    executor = LocalExecutor(cpus=1, preload=["unlucky"])
    await executor.start(Host(app_dir=tmp_path))

    found = await asyncio.wait_for(executor.lookup(["json.dumps"], code=""), 30)

    assert found == {}
    await executor.stop()


@pytest.mark.parametrize("options", [{"cpus": 1}])
async def test_a_worker_that_hung_over_targets_is_used_for_nothing_else(desk: Desk) -> None:
    desk.write("while True: pass", module="endless")
    code = desk.engine.snapshots.take()

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(desk.executor.lookup(["endless.run"], code=code), 0.5)
    found = await asyncio.wait_for(desk.executor.lookup(["json.dumps"], code=code), 30)

    assert found == {}


async def test_what_was_in_use_when_it_stopped_is_free_when_it_starts_again(
    desk: Desk, tmp_path: Path
) -> None:
    desk.write("""
        import time
        def waits(mark):
            open(mark, "w").close()
            time.sleep(60)
    """)
    mark = tmp_path / "mark"
    await desk.begin(stage("a", "waits"), mark=str(mark))
    await until(mark.exists)

    await desk.executor.stop()
    await desk.executor.start(Host(app_dir=tmp_path))

    assert (await desk.executor.nodes())[0].free["cpus"] == 2


async def test_a_module_that_kills_the_process_while_it_is_looked_up_harms_nothing(
    desk: Desk,
) -> None:
    desk.write("import os\nos._exit(1)", module="deadly")
    desk.write("def fine(): return 1")
    data = {
        "metadata": {"name": "deadly"},
        "spec": {"stages": [{"name": "a", "target": "deadly.f"}]},
    }

    await desk.engine.create(Workflow, data)

    assert await desk.result(stage("a", "fine")) == 1


def _computes(process: psutil.Process) -> bool:
    """Tell whether a process lives; one that ended may wait long for init to take note of it."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def test_nothing_is_left_of_a_server_that_was_killed(tmp_path: Path) -> None:
    script = """
        import asyncio, sys
        from pathlib import Path
        from flowdapt_local.executor import LocalExecutor
        from flowdapt.executors import Host

        async def main():
            executor = LocalExecutor(cpus=2)
            await executor.start(Host(app_dir=Path(sys.argv[1])))
            await executor.lookup(["json.dumps"], code="")
            print(executor._spool.memory.folder, flush=True)
            await asyncio.sleep(60)

        asyncio.run(main())
    """
    server = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)], stdout=subprocess.PIPE
    )
    assert server.stdout is not None
    folder = Path(server.stdout.readline().decode().strip())
    offspring = psutil.Process(server.pid).children(recursive=True)

    server.kill()
    server.wait()
    server.stdout.close()

    assert len(offspring) >= 2
    await until(lambda: not any(map(_computes, offspring)))
    OwnMemory(app_dir=tmp_path).close()
    assert not folder.exists()


# Results -------------------------------------------------------------------------------------


async def test_a_result_that_cannot_be_pickled_fails_the_stage_and_the_worker_lives(
    desk: Desk,
) -> None:
    desk.write("""
        import os, threading
        def lock(): return {"locks": [threading.Lock()]}
        def pid(): return os.getpid()
    """)
    before = {await desk.result(stage("a", "pid")) for _ in range(4)}

    stored = await desk.run(stage("a", "lock"))

    assert stored.run.failure is not None
    assert stored.run.failure.type == "ResultNotPicklable"
    assert "what stage 'a' returned cannot be pickled: _thread.lock" in stored.run.failure.message
    assert {await desk.result(stage("a", "pid")) for _ in range(4)} <= before | {
        p.pid for p in psutil.Process().children(recursive=True)
    }


async def test_a_result_of_200_mb_passes_from_stage_to_stage_outside_the_server(
    desk: Desk,
) -> None:
    desk.write("""
        def make(): return bytearray(200_000_000)
        def use(data): return len(data)
    """)
    server = psutil.Process()
    before = server.memory_full_info().uss

    assert await desk.result(stage("a", "make"), stage("b", "use", "a")) == 200_000_000

    assert server.memory_full_info().uss - before < 20_000_000


async def test_files_of_a_run_are_gone_once_it_ended(desk: Desk) -> None:
    desk.write("def make(): return bytearray(1_000_000)\ndef use(data): return len(data)")

    await desk.result(stage("a", "make"), stage("b", "use", "a"))

    await until(lambda: folders_of_runs(desk) == set())


async def test_a_file_that_is_written_after_the_end_of_its_run_does_not_stay(
    desk: Desk, tmp_path: Path
) -> None:
    desk.write("""
        import time
        def stubborn(mark):
            try:
                open(mark, "w").close()
                time.sleep(60)
            except BaseException:
                return bytearray(1_000_000)
        def use(data): return len(data)
    """)
    mark = tmp_path / "mark"
    run = await desk.begin(stage("a", "stubborn"), stage("b", "use", "a"), mark=str(mark))
    await until(mark.exists)

    await desk.engine.cancel(run.uid)

    at_work = executor_of(desk)._at_work
    await until(lambda: not any(p.units for p in at_work.crew.all) and not at_work._tasks)
    assert folders_of_runs(desk) == set()


FRAMES = """
    import numpy as np
    from flowdapt import get_run_context
    from flowdapt.objects import attached
    def used(): return attached(get_run_context().objects.memory).stats()["used"]
    def make(): return {"field": np.arange(500_000.0), "other": np.ones(300_000)}
    def look(frames): return [frames, float(frames["field"].sum())]
    def change(given):
        given[0]["field"][7] = -1.0
        return given
    def tell(given): return [given[0]["field"][7], given[0]["field"][8], given[0]["other"].sum()]
    def both(left, right): return [tell(left), tell(right)]
    def measure(given): return [used(), tell(given)]
"""


async def test_what_a_stage_hands_on_untouched_is_not_copied(placed_desk: Desk) -> None:
    placed_desk.write(FRAMES)

    used, told = await placed_desk.result(
        *(stage("a", "make"), stage("b", "look", "a"), stage("c", "measure", "b"))
    )

    assert told == [7.0, 8.0, 300_000.0]
    assert 6_400_000 <= used < 1.1 * 6_400_000


async def test_what_a_stage_changed_is_its_own_and_nobody_elses(placed_desk: Desk) -> None:
    placed_desk.write(FRAMES)
    first, look = stage("a", "make"), stage("b", "look", "a")
    left, right = stage("c", "change", "b"), stage("d", "look", "a")

    result = await placed_desk.result(first, look, left, right, stage("e", "both", "c", "d"))

    assert result == [[-1.0, 8.0, 300_000.0], [7.0, 8.0, 300_000.0]]


# Resources -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("resources", "shortage"),
    [
        ({"cpus": 3}, "asks for 3 cpus, and the executor has 2 in all"),
        ({"gpus": 1}, "asks for 1 gpus, and the executor has 0 in all"),
        ({"memory": "1000TB"}, "asks for 1e+15 memory"),
        ({"licence": 1}, "asks for 1 licence, and the executor has 0 in all"),
    ],
)
async def test_what_never_fits_fails_at_once_naming_stage_and_shortage(
    tmp_path: Path, resources: dict[str, Any], shortage: str
) -> None:
    executor = LocalExecutor(cpus=2, gpus=0)
    engine = Engine(MemoryStorage(), executor, Host(app_dir=tmp_path), types=built_in_types())
    await engine.start()
    data = {
        "metadata": {"name": "big"},
        "spec": {"stages": [stage("large", "f", resources=resources)]},
    }

    run = await engine.begin(Workflow.parse(data, where="test"))
    stored = await engine.wait(run.uid)
    await engine.stop()

    assert stored.run.failure is not None
    assert stored.run.failure.type == "NeverFits"
    assert f"stage 'large' {shortage}" in stored.run.failure.message


class TestDevices:
    @pytest.fixture
    def options(self) -> dict[str, Any]:
        return {"cpus": 2, "gpus": 2}

    async def test_a_stage_sees_the_devices_it_was_given_and_no_others(self, desk: Desk) -> None:
        desk.write("""
            import os
            def seen(): return os.environ["CUDA_VISIBLE_DEVICES"]
        """)

        assert await desk.result(stage("none", "seen")) == ""
        assert await desk.result(stage("one", "seen", resources={"gpus": 0.5})) in ("0", "1")
        assert await desk.result(stage("both", "seen", resources={"gpus": 2})) == "0,1"


def test_fractions_of_devices_are_packed_so_that_whole_ones_stay_free() -> None:
    ledger = Ledger({"cpus": 8, "memory": 0}, gpus=2)
    half = ledger.wanted("a", {"gpus": 0.5})

    first, second = ledger.take(half), ledger.take(half)
    whole = ledger.take(ledger.wanted("b", {"gpus": 1}))

    assert first is not None
    assert second is not None
    assert whole is not None
    assert first.gpus == second.gpus != whole.gpus
    assert ledger.take(half) is None
    ledger.give(first)
    assert ledger.take(half) == first


def test_resources_without_a_unit_that_is_known_never_fit() -> None:
    ledger = Ledger({"cpus": 2, "memory": 100, "licence": 1})

    assert ledger.take(ledger.wanted("a", {"licence": 1})) is not None
    assert ledger.take(ledger.wanted("a", {"licence": 1})) is None
    with pytest.raises(NeverFits):
        ledger.wanted("a", {"licence": 2})


async def test_hundreds_of_async_stages_wait_in_one_process(desk: Desk, tmp_path: Path) -> None:
    desk.write("""
        import asyncio, os
        async def waits(mark):
            while not os.path.exists(mark): await asyncio.sleep(0.01)
            return os.getpid()
    """)
    mark = tmp_path / "mark"
    runs = [await desk.begin(stage("a", "waits"), mark=str(mark)) for _ in range(300)]
    crew = crew_of(desk)

    await until(lambda: sum(p.deferred for p in crew.all) == 300)
    mark.touch()

    results = {(await desk.engine.wait(run.uid)).result for run in runs}
    assert len(results) <= 2


async def test_async_elements_hold_what_they_ask_for_beside_processors(tmp_path: Path) -> None:
    executor = LocalExecutor(cpus=2, resources={"licence": 1})
    modules = tmp_path / "modules"
    modules.mkdir()
    (modules / "user.py").write_text(
        "import asyncio\n"
        "busy = 0\n"
        "async def each(_):\n"
        "    global busy\n"
        "    busy += 1\n"
        "    seen = busy\n"
        "    await asyncio.sleep(0.02)\n"
        "    busy -= 1\n"
        "    return seen\n"
    )
    host = Host(app_dir=tmp_path, snapshots=Snapshots([Root(modules)], tmp_path / "code"))
    engine = Engine(MemoryStorage(), executor, host, types=built_in_types())
    await engine.start()
    desk = Desk(engine, executor, modules)
    one = mapped_stage("a", "each", map_on="xs")

    result = await desk.result({**one, "resources": {"licence": 1}}, xs=list(range(8)))
    (node,) = await executor.nodes()
    await engine.stop()

    assert result == [1] * 8
    assert (node.free["licence"], node.free["cpus"]) == (1, 2)


# Output --------------------------------------------------------------------------------------


async def test_what_a_stage_prints_logs_and_writes_is_in_the_log_of_its_run(desk: Desk) -> None:
    desk.write("""
        import logging, os, subprocess, sys
        def speaks(word):
            print("out", word)
            print("err", word, file=sys.stderr)
            logging.getLogger("mine").warning("log %s", word)
            os.write(1, b"raw\\n")
            subprocess.run(["echo", "child"])
            print("no newline", end="")
    """)

    stored = await desk.run(stage("a", "speaks"), word="hello")

    lines = {(line["stream"], line["message"]) for line in await desk.log(stored)}
    assert lines == {
        ("stdout", "out hello"),
        ("stderr", "err hello"),
        ("log", "log hello"),
        ("output", "raw"),
        ("output", "child"),
        ("stdout", "no newline"),
    }
    assert all("time" in line for line in await desk.log(stored))


async def test_a_stage_may_print_a_million_lines(desk: Desk) -> None:
    desk.write("""
        def chatters():
            for i in range(1_000_000): print("line", i)
            return "done"
    """)

    stored = await desk.run(stage("a", "chatters"))

    assert json.loads(stored.result or b"") == "done"
    lines = await desk.log(stored)
    assert lines[0]["message"] == "line 0"
    assert lines[-1]["message"].startswith("the log of this run is full")
    assert sum(len(json.dumps(line)) for line in lines) < 20_000_000


async def test_long_raw_output_keeps_its_lines_whole(desk: Desk) -> None:
    desk.write("""
        import os
        def speaks():
            for i in range(20_000): os.write(1, b"line %d\\n" % i)
            os.write(1, b"no newline")
    """)

    stored = await desk.run(stage("a", "speaks"))

    lines = [line["message"] for line in await desk.log(stored)]
    assert lines == [*(f"line {i}" for i in range(20_000)), "no newline"]


async def test_the_last_words_of_a_dying_worker_are_kept(desk: Desk) -> None:
    desk.write("""
        import os
        def dies():
            os.write(2, b"last words\\n")
            os._exit(1)
    """)

    stored = await desk.run(stage("a", "dies"))

    assert [x["message"] for x in await desk.log(stored)] == ["last words"] * 3


async def test_an_error_that_says_100_mb_is_kept_short(desk: Desk) -> None:
    desk.write("def f(): raise ValueError('x' * 100_000_000)")

    stored = await desk.run(stage("a", "f"))

    assert stored.run.failure is not None
    assert len(stored.run.failure.message) == 64 * 1024
    assert len(stored.result or b"") < 70_000


async def test_a_child_that_comes_out_of_a_stage_harms_nothing(desk: Desk) -> None:
    desk.write("import os\ndef f():\n    os.fork()\n    return 1\ndef fine(): return 2")

    assert [await desk.result(stage("a", "f")) for _ in range(5)] == [1] * 5

    assert [await desk.result(stage("a", "fine")) for _ in range(5)] == [2] * 5


# Cancelling ----------------------------------------------------------------------------------


@pytest.mark.parametrize("source", SLEEPS.values(), ids=SLEEPS)
async def test_a_cancelled_run_is_not_computed_any_more(
    desk: Desk, tmp_path: Path, source: str
) -> None:
    desk.write("import asyncio, time\n" + textwrap.dedent(source) + "\ndef fine(): return 1")
    mark = tmp_path / "mark"
    run = await desk.begin(stage("a", "f"), mark=str(mark))
    await until(mark.exists)

    stored = await asyncio.wait_for(desk.engine.cancel(run.uid), 5)

    assert stored.run.state is RunState.CANCELLED
    await until(lambda: not (any(p.units for p in crew_of(desk).all)))
    assert await desk.result(stage("a", "fine")) == 1
    async with asyncio.timeout(30):
        while (await desk.executor.nodes())[0].free["cpus"] != 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("function", ["f", "g"])
async def test_what_a_worker_has_not_begun_does_not_begin_once_it_is_cancelled(
    desk: Desk, tmp_path: Path, function: str
) -> None:
    desk.write("""
        def f(mark): open(mark, "w").close()
        async def g(mark): open(mark, "w").close()
        def fine(): return 1
    """)
    assert await desk.result(stage("a", "fine")) == 1
    crew = crew_of(desk)
    await until(lambda: len(crew.all) == 2 and all(worker.heard for worker in crew.all))
    workers = [worker.pid for worker in crew.all]
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    run = await desk.begin(stage("a", function), mark=str(tmp_path / "mark"))
    await until(lambda: any(worker.units for worker in crew.all))

    stored = await asyncio.wait_for(desk.engine.cancel(run.uid), 5)
    for pid in workers:
        os.kill(pid, signal.SIGCONT)

    assert stored.run.state is RunState.CANCELLED
    await until(lambda: not any(worker.units for worker in crew.all))
    assert not (tmp_path / "mark").exists()


class TestOneWorker:
    @pytest.fixture
    def options(self) -> dict[str, Any]:
        return {"cpus": 1}

    async def test_what_waits_in_a_worker_is_cancelled_while_that_computes_something_else(
        self, desk: Desk, tmp_path: Path
    ) -> None:
        desk.write("""
            import asyncio, os, time
            async def idles(mark):
                open(mark, "w").close()
                await asyncio.sleep(60)
            def works(begun, go):
                open(begun, "w").close()
                while not os.path.exists(go): time.sleep(0.005)
                return "done"
        """)
        mark, begun, go = (tmp_path / name for name in ("mark", "begun", "go"))
        idle = await desk.begin(stage("a", "idles"), mark=str(mark))
        await until(mark.exists)
        busy = await desk.begin(stage("b", "works"), begun=str(begun), go=str(go))
        await until(begun.exists)
        (worker,) = [w for w in crew_of(desk).all if len(w.units) == 2]

        await desk.engine.cancel(idle.uid)

        await until(lambda: len(worker.units) == 1)
        assert not worker.stopping
        go.touch()
        assert (await desk.engine.wait(busy.uid)).result == b'"done"'

    async def test_who_shares_a_worker_with_what_takes_too_long_is_computed_again_without_blame(
        self, desk: Desk, tmp_path: Path
    ) -> None:
        desk.write("""
            import asyncio, os, time
            async def waits(marks, go):
                open(f"{marks}/{len(os.listdir(marks))}", "w").close()
                while not os.path.exists(go): await asyncio.sleep(0.005)
                return "done"
            async def blocks(begun):
                open(begun, "w").close()
                while True:
                    try: time.sleep(1)
                    except BaseException: pass
        """)
        marks, begun, go = (tmp_path / name for name in ("marks", "begun", "go"))
        marks.mkdir()
        waiting = await desk.begin(stage("a", "waits"), marks=str(marks), go=str(go))
        await until(lambda: any(marks.iterdir()))

        stuck = await desk.begin(stage("b", "blocks", options={"timeout": 0.5}), begun=str(begun))
        await until(begun.exists)
        assert [len(worker.units) for worker in crew_of(desk).all if worker.units] == [2]
        failed = await desk.engine.wait(stuck.uid)
        await until(lambda: len(list(marks.iterdir())) == 2)
        go.touch()

        assert failed.run.failure is not None
        assert failed.run.failure.type == "TimeoutError"
        stored = await desk.engine.wait(waiting.uid)
        assert (stored.result, (await desk.record(stored)).attempts) == (b'"done"', 1)

    async def test_the_place_where_a_stage_was_interrupted_is_in_its_traceback(
        self, desk: Desk
    ) -> None:
        desk.write("import time\ndef slow(): time.sleep(60)")

        stored = await desk.run(stage("a", "slow", options={"timeout": 0.2}))

        assert stored.run.failure is not None
        assert "in slow" in stored.run.failure.traceback
        assert stored.run.failure.traceback.endswith("limit of 0.2 seconds\n")

    async def test_cancelling_what_waits_in_a_worker_leaves_what_it_computes_alone(
        self, desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        desk.write("""
            import asyncio, ctypes, os, time
            async def idles(mark):
                open(mark, "w").close()
                await asyncio.sleep(60)
            def works(begun, lock):
                file = os.open(lock, os.O_RDWR)
                open(begun, "w").close()
                ctypes.CDLL(None).flock(file, 2)  # which no signal ends, so that nothing is heard
                return "done"
        """)
        mark, begun = tmp_path / "mark", tmp_path / "begun"
        lock = (tmp_path / "lock").open("w")
        fcntl.flock(lock, fcntl.LOCK_EX)
        idle = await desk.begin(stage("a", "idles"), mark=str(mark))
        await until(mark.exists)
        busy = await desk.begin(stage("b", "works"), begun=str(begun), lock=lock.name)
        await until(begun.exists)
        (worker,) = [w for w in crew_of(desk).all if len(w.units) == 2]
        monkeypatch.setattr(insisting, "INTERRUPT_SECONDS", 0.01)

        await desk.engine.cancel(idle.uid)

        await until(lambda: worker.stopping)  # which is when it would have been killed
        lock.close()
        stored = await desk.engine.wait(busy.uid)
        (record,) = await desk.engine.stages(busy.uid)
        assert (stored.run.state, record.attempts) == (RunState.FINISHED, 1)


# User modules --------------------------------------------------------------------------------


async def test_workers_of_old_code_leave(desk: Desk) -> None:
    for value in range(5):
        desk.write(f"def get(): return {value}")
        assert await desk.result(stage("a", "get")) == value

    kinds = {process.kind.code for process in crew_of(desk).all}

    assert kinds == desk.engine.snapshots.current


# Settings ------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["cpus", "gpus", "memory"])
def test_an_option_that_is_no_number_is_named(option: str) -> None:
    options: dict[str, Any] = {option: "x"}

    with pytest.raises(ValueError, match=f"{option} must be a number or 'auto', not 'x'"):
        local(**options)


def test_keys_of_earlier_settings_are_understood() -> None:
    assert isinstance(local(use_processes=False), InlineExecutor)
    assert isinstance(local(cpus="auto", cluster_memory_socket_path="/tmp/x"), LocalExecutor)


async def test_an_idle_executor_uses_no_processor_time(desk: Desk) -> None:
    desk.write("def fine(): return 1")
    await desk.result(stage("a", "fine"))
    workers = [psutil.Process(process.pid) for process in crew_of(desk).all]
    family = [psutil.Process(), *workers]

    before = sum(sum(p.cpu_times()[:2]) for p in family)
    await asyncio.sleep(0.5)  # what is measured is this very time

    assert sum(sum(p.cpu_times()[:2]) for p in family) - before < 0.1


async def test_nothing_is_left_of_what_a_failed_stage_wrote(placed_desk: Desk) -> None:
    placed_desk.write("""
        import threading
        def make(): return [bytes(100_000)] * 200 + [threading.Lock()]
        def use(x): return 1
    """)

    stored = await placed_desk.run(stage("a", "make"), mapped_stage("b", "use", "a"))

    assert stored.run.failure is not None
    await until(lambda: folders_of_runs(placed_desk) == set())


def test_workers_with_the_same_number_do_not_write_over_one_another(tmp_path: Path) -> None:
    memory = OwnMemory(app_dir=tmp_path)
    one, other = Spool(memory), Spool(memory)  # in one process, as after a number came again

    parts = [spool.store("run", [bytes([n]) * 100_000], n) for n, spool in enumerate((one, other))]

    assert [bytes(one.content(part))[-1] for part in parts if not isinstance(part, Woven)] == [0, 1]
    memory.close()


async def test_calls_of_calls_take_few_workers_along_and_leave_fewer(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "IDLE_IN_ALL", 3)
    monkeypatch.setattr(dispatch, "SPARE_MOST", 2)
    desk.write(CALLS)
    offered("policies", "calls")(desk.engine)
    numbers = stage("numbers", "numbers")
    for name, target in (("low", "double"), ("middle", "calls_low"), ("high", "calls_middle")):
        spec = {"stages": [numbers, mapped_stage("each", target, "numbers")]}
        data = {"kind": "workflow", "metadata": {"name": name}, "spec": spec}
        await desk.engine.apply(data)
    workers: list[int] = []

    def count(_: object) -> None:
        workers.append(desk.executor.describe()["workers"])

    with desk.engine.events.listening(count, STAGE_CHANGED):
        ended = await desk.ended(await desk.engine.submit("high"))

    assert json.loads(ended.result or b"") == [[[0, 2, 4, 6]] * 4] * 4
    assert max(workers) < 16  # and not 4 + 16, with those that compute
    await until(lambda: desk.executor.describe()["workers"] <= 2)


CALLS = """
    import flowdapt

    def numbers():
        return [0, 1, 2, 3]

    def double(number):
        return 2 * number

    def calls_low(_):
        return flowdapt.call_workflow("low")

    def calls_middle(_):
        return flowdapt.call_workflow("middle")
"""
