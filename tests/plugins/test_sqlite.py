"""What SQLite adds to the contract: kills, locks, full disks, transactions."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path
from uuid import UUID

import pytest
from flowdapt_sqlite import checkpoints, commits
from flowdapt_sqlite.storage import SqliteStorage

from flowdapt.errors import StorageError
from flowdapt.runs import Run, RunState
from flowdapt.storage import INLINE_BYTES, LogBlock, RunQuery

pytestmark = pytest.mark.anyio

LARGE = b" " * (INLINE_BYTES + 1)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def storage(tmp_path: Path) -> AsyncIterator[SqliteStorage]:
    storage = SqliteStorage(app_dir=tmp_path)
    await storage.start()
    yield storage
    await storage.stop()


def connection(storage: SqliteStorage) -> sqlite3.Connection:
    """Return the storage's own connection: limits and traces belong to a connection."""
    assert storage._db is not None
    return storage._db


async def end(storage: SqliteStorage, run: Run, result: bytes) -> None:
    finished = run.to(RunState.RUNNING).to(RunState.FINISHED)
    await storage.save_run(finished, was=RunState.PENDING, result=result)


# Processes that die, and others that are in the way ------------------------------------------

WRITER = """
import asyncio, sys
from pathlib import Path
from flowdapt.runs import Run, RunState, StageRecord
from flowdapt_sqlite.storage import SqliteStorage

async def life(storage, number):
    run = Run(workflow="w")
    await storage.add_run(run)
    await storage.save_stage(run.uid, StageRecord(stage="s"))
    end = run.to(RunState.RUNNING).to(RunState.FINISHED)
    size = 100_000 if number % 10 == 0 else 10
    await storage.save_run(end, was=RunState.PENDING, result=b" " * size)
    print(run.uid, size, flush=True)

async def main():
    storage = SqliteStorage(app_dir=Path(sys.argv[1]))
    await storage.start()
    while True:
        await asyncio.gather(*(life(storage, number) for number in range(20)))

asyncio.run(main())
"""


def acknowledged_before_kill_9(app_dir: Path) -> list[str]:
    """Have a process store runs, kill it amid them, and return what it said was stored."""
    command = [sys.executable, "-c", WRITER, str(app_dir)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        lines = [writer.stdout.readline() for _ in range(300)]
        writer.send_signal(signal.SIGKILL)
        return lines + [line for line in writer.stdout if line.endswith("\n")]


async def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    lines = acknowledged_before_kill_9(tmp_path)
    for file in (tmp_path / "results").iterdir():
        os.utime(file, (0, 0))  # or one whose row never came could be of a server beside this one

    storage = SqliteStorage(app_dir=tmp_path)
    await storage.start()
    for line in lines:
        uid, size = line.split()
        stored = await storage.get_run(UUID(uid))
        assert stored.run.state == RunState.FINISHED
        assert stored.result == b" " * int(size)
        assert [record.stage for record in await storage.list_stages(UUID(uid))] == ["s"]
    large = [run for run in await storage.list_runs(RunQuery()) if run.result_bytes > INLINE_BYTES]
    await storage.stop()
    assert len(list((tmp_path / "results").iterdir())) == len(large)


HOLDER = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.readline()
db.execute("COMMIT")
"""


@contextmanager
def locked_by_another_process(path: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLDER, str(path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        yield holder
        holder.communicate("\n")


async def test_a_write_waits_for_a_foreign_lock_and_the_loop_goes_on(
    storage: SqliteStorage,
) -> None:
    first, second = Run(workflow="w"), Run(workflow="w")
    await storage.add_run(first)
    with locked_by_another_process(storage.path):
        waiting = [asyncio.create_task(storage.add_run(second))]
        waiting.append(asyncio.create_task(end(storage, second, b"1")))

        turns = [time.perf_counter()]
        while turns[-1] - turns[0] < 0.2:
            await asyncio.sleep(0)
            turns.append(time.perf_counter())

        assert not any(task.done() for task in waiting)
        assert max(later - turn for turn, later in pairwise(turns)) < 0.1
        assert [stored.run for stored in await storage.list_runs(RunQuery())] == [first]
    await asyncio.gather(*waiting)
    assert (await storage.get_run(second.uid)).result == b"1"


async def test_a_lock_that_stays_is_reported_with_the_file(
    storage: SqliteStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(workflow="w")
    monkeypatch.setattr(commits, "OPEN_SECONDS", 0.0)
    with (
        locked_by_another_process(storage.path),
        pytest.raises(StorageError, match=r"flowdapt\.db has been locked by another process"),
    ):
        await storage.add_run(run)

    await storage.add_run(run)

    assert len(await storage.list_runs(RunQuery())) == 1


# Disks ---------------------------------------------------------------------------------------


async def test_a_full_disk_fails_only_the_writes_that_do_not_fit(storage: SqliteStorage) -> None:
    db = connection(storage)
    small, large = Run(workflow="w"), Run(workflow="w")
    await storage.add_run(small)
    await storage.add_run(large)
    (pages,) = db.execute("PRAGMA page_count").fetchone()
    db.execute(f"PRAGMA max_page_count = {pages}")

    outcomes = await asyncio.gather(
        end(storage, large, b" " * INLINE_BYTES), end(storage, small, b"1"), return_exceptions=True
    )

    assert outcomes[1] is None
    with pytest.raises(StorageError, match=r"flowdapt\.db cannot grow, the disk is full"):
        raise outcomes[0] or AssertionError("it went through")
    assert (await storage.get_run(large.uid)).run == large
    db.execute("PRAGMA max_page_count = 1000000")
    await end(storage, large, b" " * INLINE_BYTES)


async def test_a_result_that_cannot_be_written_leaves_the_run_as_it_was(
    storage: SqliteStorage, tmp_path: Path
) -> None:
    (tmp_path / "results").write_text("in the way")
    run = Run(workflow="w")
    await storage.add_run(run)

    with pytest.raises(StorageError, match=r"results.* cannot be written"):
        await end(storage, run, LARGE)

    assert (await storage.get_run(run.uid)).run == run


async def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(StorageError, match=r"flowdapt\.db cannot be used: .* '.*/file'"):
        await SqliteStorage(app_dir=tmp_path / "file").start()


async def test_files_are_for_their_user_only(tmp_path: Path) -> None:
    storage = SqliteStorage(app_dir=tmp_path / "new")
    await storage.start()
    run = Run(workflow="w")
    await storage.add_run(run)
    await end(storage, run, LARGE)

    paths = [tmp_path / "new", *(tmp_path / "new").rglob("*")]

    assert len(paths) == 6  # the folders, the result, the database with its log and index
    assert all(path.stat().st_mode & 0o077 == 0 for path in paths)
    await storage.stop()


# Transactions --------------------------------------------------------------------------------


async def test_writes_of_one_turn_are_one_transaction(storage: SqliteStorage) -> None:
    statements: list[str] = []
    connection(storage).set_trace_callback(statements.append)

    await asyncio.gather(*(storage.add_run(Run(workflow="w")) for _ in range(100)))

    assert statements.count("COMMIT") == 1
    assert len(await storage.list_runs(RunQuery())) == 100


async def test_a_write_that_is_cancelled_in_time_is_not_made(storage: SqliteStorage) -> None:
    cancelled, kept = Run(workflow="w"), Run(workflow="w")
    writes = [asyncio.create_task(storage.add_run(run)) for run in (cancelled, kept)]
    await asyncio.sleep(0)

    writes[0].cancel()
    await asyncio.gather(*writes, return_exceptions=True)

    assert [stored.run for stored in await storage.list_runs(RunQuery())] == [kept]


async def test_stopping_commits_what_is_pending(storage: SqliteStorage) -> None:
    run = Run(workflow="w")
    write = asyncio.create_task(storage.add_run(run))
    await asyncio.sleep(0)

    await storage.stop()
    await write

    await storage.start()
    assert (await storage.get_run(run.uid)).run == run


async def test_a_storage_that_is_not_open_says_so(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"flowdapt\.db is not open"):
        await SqliteStorage(app_dir=tmp_path).add_run(Run(workflow="w"))


@pytest.mark.parametrize("long", [0, 2**30])
async def test_the_log_is_moved_into_the_database_meanwhile(
    storage: SqliteStorage, monkeypatch: pytest.MonkeyPatch, long: int
) -> None:
    monkeypatch.setattr(checkpoints, "COMMITS", 1)
    monkeypatch.setattr(checkpoints, "LOG_BYTES", 0)
    monkeypatch.setattr(checkpoints, "LONG_LOG_BYTES", long)
    for _ in range(50):
        await storage.add_run(Run(workflow="w"))

    await storage._checkpoints.finished()

    with closing(sqlite3.connect(f"file:{storage.path}?immutable=1", uri=True)) as db:
        assert db.execute("SELECT count(*) FROM runs").fetchone() > (0,)
    assert len(await storage.list_runs(RunQuery())) == 50


async def test_a_long_log_is_deleted_in_several_transactions(storage: SqliteStorage) -> None:
    statements: list[str] = []
    run, block = Run(workflow="w"), LogBlock("s", b"{}", 1)
    await storage.add_run(run)
    await asyncio.gather(*(storage.append_log(run.uid, block) for _ in range(200)))
    connection(storage).set_trace_callback(statements.append)

    await storage.delete_run(run.uid)

    assert statements.count("COMMIT") == 5  # three times 64 blocks, the other 8, and the run
