"""Runs that a server left unfinished: what of them is done again, and what is not."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from flowdapt_local.executor import LocalExecutor
from flowdapt_sqlite.storage import SqliteStorage
from flowdapt_workers.tallies import unpacked
from flowdapt_workers.targets import built_in_types

from flowdapt.engine import Engine
from flowdapt.errors import Draining, StorageError
from flowdapt.executors import Host
from flowdapt.recovery import MOST_RESUMED
from flowdapt.resources import Workflow
from flowdapt.runs import Run, RunState
from flowdapt.snapshots import Root, Snapshots
from flowdapt.storage import RunQuery, StoredRun

pytestmark = pytest.mark.anyio

SOURCE = """
import time
from pathlib import Path

from flowdapt import get_run_context


def note(folder, what):
    with open(Path(folder) / "done", "a") as file:
        file.write(f"{what}\\n")


def wait_for(folder, name):
    while not (Path(folder) / name).exists():
        time.sleep(0.005)


def folder():
    return get_run_context().input["folder"]


def load(folder, count=6, size=0):
    note(folder, "load")
    return [f"{n:0{size}}" for n in range(count)]


def large(folder, size):
    note(folder, "large")
    return [1] * size


def length(values):
    note(folder(), "length")
    return len(values)


def work(text):
    number = int(text[-1])
    wait_for(folder(), f"go-{number}")
    note(folder(), f"work {number}")
    if number == 1:
        raise ValueError("the second one")
    return number * 10


def more(number):
    note(folder(), f"more {number}")
    return number + 1


def total(numbers):
    wait_for(folder(), "go-total")
    note(folder(), "total")
    return sum(numbers)


def again(value):
    wait_for(folder(), "go-again")
    note(folder(), "again")
    return value


def fail(value):
    note(folder(), "fail")
    raise RuntimeError("no")
"""


class House:
    """A folder with a database and user modules, and the server of the moment."""

    def __init__(self, app_dir: Path, stack: AsyncExitStack) -> None:
        self.app_dir, self._stack = app_dir, stack
        (app_dir / "farm_again.py").write_text(SOURCE)

    async def server(self, **facts: Any) -> Engine:
        """Start a server; whichever ran before is stopped."""
        storage = SqliteStorage(app_dir=self.app_dir)
        await storage.start()
        host = Host(
            app_dir=self.app_dir,
            snapshots=Snapshots([Root(self.app_dir)], self.app_dir / "code"),
        )
        executor = LocalExecutor(cpus=4)
        engine = Engine(storage, executor, host, types=built_in_types(), **facts)
        await engine.start()
        self._stack.push_async_callback(storage.stop)
        self._stack.push_async_callback(engine.stop)
        return engine

    async def stop(self) -> None:
        """Stop the server, as a kill would but for what it is allowed to tidy up."""
        await self._stack.aclose()

    @property
    def done(self) -> Sequence[str]:
        """What stages did so far."""
        file = self.app_dir / "done"
        return file.read_text().splitlines() if file.exists() else []

    async def until(self, *what: str) -> None:
        """Wait until stages did this, among others."""

        async def done() -> bool:
            return set(what) <= set(self.done)

        await until(done)

    def go(self, *names: str) -> None:
        """Let stages go on."""
        for name in names:
            (self.app_dir / f"go-{name}").touch()


async def until(done: Callable[[], Awaitable[bool]]) -> None:
    """Ask again and again, as files and databases tell nobody."""
    async with asyncio.timeout(20):
        while not await done():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """The folder of a server."""
    async with AsyncExitStack() as stack:
        yield House(tmp_path, stack)


def stage(name: str, *after: str, target: str = "", **facts: Any) -> dict[str, Any]:
    """Return a stage whose function is in the house."""
    facts |= {"depends_on": after, "target": f"farm_again.{target or name}"}
    return {"name": name, **facts}


MAPPED: dict[str, Any] = {"type": "parameterized", "options": {"chunk_size": 1}}


async def begun(engine: Engine, *stages: dict[str, Any], **given: Any) -> Run:
    """Start a run of these stages."""
    options = given.pop("options", {})
    spec = {"stages": [*stages], "options": options}
    await engine.create(Workflow, {"kind": "workflow", "metadata": {"name": "farm"}, "spec": spec})
    return await engine.submit("farm", given)


async def ended(engine: Engine, run: Run) -> StoredRun:
    """Wait for the end of a run."""
    return await asyncio.wait_for(engine.wait(run.uid), 20)


async def stages_stored(engine: Engine, run: Run, count: int) -> None:
    """Wait until so many stages of a run are stored."""

    async def done() -> bool:
        return len(await engine.storage.list_stages(run.uid)) == count

    await until(done)


async def chunks_stored(engine: Engine, run: Run, **counts: int) -> None:
    """Wait until so many chunks of stages of a run are stored."""

    async def done() -> bool:
        found = await engine.storage.list_chunks(run.uid)
        return {stage: len(chunks) for stage, chunks in found.items()} == counts

    await until(done)


async def test_a_stage_that_ended_is_not_computed_again(house: House) -> None:
    first = await house.server()
    stages = stage("load"), stage("length", "load"), stage("again", "length")
    run = await begun(first, *stages, folder=str(house.app_dir))
    await stages_stored(first, run, 2)
    await house.stop()
    house.go("again")

    second = await house.server()

    end = await ended(second, run)
    assert (end.run.state, end.run.resumed, end.result) == (RunState.FINISHED, 1, b"6")
    assert house.done == ["load", "length", "again"]
    names = [(record.stage, record.state.value) for record in await second.stages(run.uid)]
    assert names == [("load", "finished"), ("length", "finished"), ("again", "finished")]


async def test_elements_that_were_computed_are_not_computed_again(house: House) -> None:
    first = await house.server()
    stages = stage("load"), stage("work", "load", **MAPPED), stage("total", "work")
    run = await begun(first, *stages, folder=str(house.app_dir))
    house.go("0", "1", "4", "total")
    await chunks_stored(first, run, work=3)
    await house.stop()
    house.go("2", "3", "5")

    second = await house.server()

    end = await ended(second, run)
    assert (end.run.state, end.result) == (RunState.FINISHED, b"140")
    assert sorted(house.done) == sorted(["load", *(f"work {n}" for n in range(6)), "total"])
    (work,) = [r for r in await second.stages(run.uid) if r.stage == "work"]
    assert (work.items, work.items_done, work.items_failed) == (6, 6, 1)
    assert [failed.item for failed in work.failed_items] == [1]
    assert await second.storage.list_chunks(run.uid) == {}


async def test_how_long_elements_took_is_known_of_those_of_an_earlier_server_too(
    house: House,
) -> None:
    first = await house.server()
    retried = {**MAPPED, "options": {"chunk_size": 1, "retries": 1}}
    stages = stage("load"), stage("work", "load", **retried), stage("more", "work", **MAPPED)
    run = await begun(first, *stages, folder=str(house.app_dir))
    house.go("0", "1", "4")
    await chunks_stored(first, run, work=3, more=2)
    await house.stop()
    house.go("2", "3", "5")

    second = await house.server()

    assert (await ended(second, run)).run.state is RunState.FINISHED
    records = {r.stage: r for r in await second.stages(run.uid)}
    told = {name: [*unpacked(record.elements)] for name, record in records.items()}
    assert {name: record.attempts for name, record in records.items()} == {
        "load": 1,
        "work": 2,
        "more": 1,
    }
    assert [(one.item, one.attempts) for one in told["work"]] == [
        (item, 2 if item == 1 else 1) for item in range(6)
    ]
    assert [one.item for one in told["more"]] == [0, 2, 3, 4, 5]
    assert all(one.seconds >= 0 for stage in told.values() for one in stage)


async def test_stages_that_map_over_one_another_go_on_where_each_was(house: House) -> None:
    first = await house.server()
    stages = (
        stage("load"),
        stage("work", "load", **MAPPED),
        stage("more", "work", **MAPPED),
        stage("total", "more"),
    )
    run = await begun(first, *stages, folder=str(house.app_dir))
    house.go("0", "1", "5", "total")
    await chunks_stored(first, run, work=3, more=2)
    await house.stop()
    house.go("2", "3", "4")

    second = await house.server()

    assert (await ended(second, run)).result == b"145"
    assert len(house.done) == len(set(house.done)) == 1 + 6 + 5 + 1


async def test_a_mapped_stage_that_had_ended_gives_its_results_once_more(house: House) -> None:
    first = await house.server()
    stages = stage("load"), stage("work", "load", **MAPPED), stage("total", "work")
    run = await begun(first, *stages, folder=str(house.app_dir))
    house.go(*"012345")
    await stages_stored(first, run, 2)
    before = {record.stage: record for record in await first.stages(run.uid)}
    await house.stop()
    house.go("total")

    second = await house.server()

    assert (await ended(second, run)).result == b"140"
    assert house.done.count("load") == 1
    assert len([one for one in house.done if one.startswith("work")]) == 6
    after = {record.stage: record for record in await second.stages(run.uid)}
    assert after["work"].finished_at == before["work"].finished_at


async def test_what_is_too_large_to_be_stored_is_not_computed_again_if_nobody_takes_it(
    house: House,
) -> None:
    first = await house.server()
    stages = (
        stage("large"),
        stage("length", "large"),
        stage("again", "length"),
    )
    run = await begun(first, *stages, folder=str(house.app_dir), size=100_000)
    await stages_stored(first, run, 2)
    await house.stop()
    house.go("again")
    second = await house.server()
    assert (await ended(second, run)).result == b"100000"
    assert house.done == ["large", "length", "again"]


async def test_elements_of_a_list_that_is_made_anew_are_computed_anew(house: House) -> None:
    first = await house.server()
    stages = stage("load"), stage("work", "load", **MAPPED)
    given = {"folder": str(house.app_dir), "size": 400_000}  # together too large to be stored
    run = await begun(first, *stages, **given)
    house.go("0")
    await chunks_stored(first, run, work=1)
    await house.stop()
    house.go(*"12345")

    second = await house.server()

    assert json.loads((await ended(second, run)).result or b"") == [0, 20, 30, 40, 50]
    assert house.done.count("load") == 2
    assert house.done.count("work 0") == 2


async def test_a_result_that_only_the_end_of_the_run_lacks_is_given(house: House) -> None:
    first = await house.server()
    stages = (stage("load"), stage("leaf", target="wait_for", options={}), stage("length", "load"))
    run = await begun(first, *stages, folder=str(house.app_dir), name="go-leaf")
    await stages_stored(first, run, 2)
    await house.stop()
    house.go("leaf")

    second = await house.server()

    end = await ended(second, run)
    assert (end.run.state, end.result) == (RunState.FINISHED, b"6")
    assert house.done == ["load", "length"]


async def test_a_run_may_be_begun_anew_instead(house: House) -> None:
    first = await house.server()
    stages = stage("load"), stage("length", "load"), stage("again", "length")
    options = {"recovery": "restart"}
    run = await begun(first, *stages, folder=str(house.app_dir), options=options)
    await stages_stored(first, run, 2)
    await house.stop()
    house.go("again")

    second = await house.server()

    assert (await ended(second, run)).result == b"6"
    assert house.done == ["load", "length", "load", "length", "again"]


async def test_a_run_may_fail_instead_also_where_its_server_was_killed(
    house: House, tmp_path_factory: pytest.TempPathFactory
) -> None:
    first = await house.server()
    options = {"recovery": "fail"}
    stages = stage("load"), stage("again", "load")
    run = await begun(first, *stages, folder=str(house.app_dir), options=options)
    await stages_stored(first, run, 1)
    left = tmp_path_factory.mktemp("killed")  # what a kill leaves at this moment
    for file in house.app_dir.glob("flowdapt.db*"):
        shutil.copy(file, left)
    shutil.copytree(house.app_dir / "code", left / "code")
    await house.stop()

    async with AsyncExitStack() as stack:
        second = await House(left, stack).server()
        end = await ended(second, run)

    assert end.run.failure is not None
    assert (end.run.failure.type, end.run.resumed) == ("ServerStopped", 0)
    assert house.done == ["load"]


async def test_a_run_goes_on_with_the_workflow_and_the_modules_that_it_began_with(
    house: House,
) -> None:
    first = await house.server()
    stages = stage("load"), stage("again", "load")
    run = await begun(first, *stages, folder=str(house.app_dir))
    await stages_stored(first, run, 1)
    changed = {"stages": [stage("load")]}
    document = {"kind": "workflow", "metadata": {"name": "farm"}, "spec": changed}
    await first.replace(Workflow, "farm", document)
    await house.stop()
    (house.app_dir / "farm_again.py").write_text("raise RuntimeError('edited meanwhile')")
    house.go("again")

    second = await house.server()

    assert json.loads((await ended(second, run)).result or b"")[:2] == ["0", "1"]


async def test_a_failure_whose_run_had_not_ended_is_its_end(house: House) -> None:
    first = await house.server()
    stages = stage("load"), stage("fail", "load")
    run = await begun(first, *stages, folder=str(house.app_dir))
    await ended(first, run)
    running = (await first.get_run(run.uid)).run.model_copy(
        update={"state": RunState.RUNNING, "finished_at": None, "failure": None}
    )
    await first.storage.save_run(running, was=RunState.FAILED)  # as if it had been killed then
    await house.stop()

    second = await house.server()

    end = await ended(second, run)
    assert end.run.failure is not None
    assert (end.run.state, end.run.failure.message) == (RunState.FAILED, "no")
    assert house.done.count("fail") == 1


async def test_a_run_that_ends_every_server_is_given_up(house: House) -> None:
    engine = await house.server()
    run = await begun(engine, stage("load"), stage("again", "load"), folder=str(house.app_dir))
    await house.until("load")
    often = run.model_copy(update={"resumed": MOST_RESUMED})
    await engine.storage.save_run(often, was=RunState.RUNNING)
    await house.stop()

    engine = await house.server()

    end = await ended(engine, run)
    assert end.run.failure is not None
    assert end.run.failure.type == "ServerStopped"
    assert "the server ended 101 times while this run was in progress" in end.run.failure.message


async def test_a_run_without_its_source_fails_and_says_so(house: House) -> None:
    first = await house.server()
    run = await begun(first, stage("load"), stage("again", "load"), folder=str(house.app_dir))
    await house.until("load")
    waiting = asyncio.ensure_future(first.wait(run.uid))
    await asyncio.sleep(0)
    await house.stop()
    with pytest.raises(Draining):
        await waiting
    for file in (house.app_dir / "code").iterdir():
        file.unlink()
    (house.app_dir / "farm_again.py").write_text("edited = True")  # or it would be there again

    second = await house.server()

    end = await second.get_run(run.uid)
    assert end.run.failure is not None
    assert "is gone" in end.run.failure.message


def limit(engine: Engine, pages: int) -> None:
    """Have the database be as large as it may be, or let it grow again."""
    storage = engine.storage
    assert isinstance(storage, SqliteStorage)
    assert storage._db is not None
    storage._db.execute(f"PRAGMA max_page_count = {pages}")


async def test_a_run_whose_result_finds_no_room_on_the_disk_has_failed_and_says_so(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    engine = await house.server()
    given = {"folder": str(house.app_dir), "size": 5000}  # more than pages that are free already
    run = await begun(engine, stage("load"), stage("again", "load"), **given)
    await stages_stored(engine, run, 1)
    limit(engine, 1)
    house.go("again")
    await house.until("again")
    with pytest.raises(StorageError, match="the disk is full"):
        await engine.submit("farm", {**given, "text": "x" * 100_000})
    assert len(await engine.list_runs(RunQuery())) == 1

    async def tried() -> bool:
        return "is not stored; once more" in caplog.text

    await until(tried)
    limit(engine, 1_000_000)

    end = await ended(engine, run)
    assert end.run.failure is not None
    assert end.run.failure.type == "StorageError"
    assert "the disk is full" in end.run.failure.message
    again = await engine.submit("farm", given)
    assert (await ended(engine, again)).run.state is RunState.FINISHED


LOCK = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.readline()
db.execute("ROLLBACK")
"""


async def test_a_run_waits_for_whoever_holds_the_database(house: House) -> None:
    engine = await house.server()
    run = await begun(engine, stage("load"), stage("again", "load"), folder=str(house.app_dir))
    await stages_stored(engine, run, 1)  # or what follows would not begin
    locker = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", LOCK, str(house.app_dir / "flowdapt.db")),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert locker.stdout is not None
    assert locker.stdin is not None
    try:
        assert await locker.stdout.readline() == b"locked\n"
        house.go("again")
        await house.until("again")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(engine.wait(run.uid), 0.2)
    finally:
        locker.stdin.write(b"\n")
        await locker.wait()

    assert (await ended(engine, run)).run.state is RunState.FINISHED
