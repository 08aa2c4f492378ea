"""The database file of the SQLite storage: its layout, its versions, and how it is searched."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from uuid import UUID

import pytest
from flowdapt_sqlite import flowdapt_storages
from flowdapt_sqlite.database import open_database
from flowdapt_sqlite.documents import encode
from flowdapt_sqlite.migrations import MIGRATIONS, Step, version
from flowdapt_sqlite.storage import SqliteStorage

from flowdapt.errors import StorageError
from flowdapt.events import Event
from flowdapt.hooks import load
from flowdapt.runs import Run, RunState
from flowdapt.storage import EventQuery, RunQuery

pytestmark = pytest.mark.anyio

ONE_MORE: Sequence[Step] = (*MIGRATIONS, ("ALTER TABLE runs ADD COLUMN tenant TEXT",))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def test_the_storage_is_offered_under_its_name_and_that_of_earlier_releases() -> None:
    (provider,) = flowdapt_storages()

    assert provider.name == "sqlite"
    assert provider.aliases == ("flowdapt.lib.database.storage.tdb.TinyDBStorage",)
    assert load(provider.target) is SqliteStorage


# Versions ------------------------------------------------------------------------------------


async def test_an_older_database_takes_the_steps_it_lacks(tmp_path: Path) -> None:
    storage, run = SqliteStorage(app_dir=tmp_path), Run(workflow="w")
    await storage.start()
    await storage.add_run(run)
    await storage.stop()

    with closing(open_database(storage.path, steps=ONE_MORE)) as db:
        rows = db.execute("SELECT name, tenant FROM runs").fetchall()
        assert version(db) == len(ONE_MORE)

    assert rows == [(run.name, None)]


def test_a_step_that_fails_leaves_the_database_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "flowdapt.db"
    open_database(path).close()
    broken = (*MIGRATIONS, ("CREATE TABLE half (id INTEGER)", "ALTER TABLE absent ADD COLUMN x"))

    with pytest.raises(StorageError, match=r"flowdapt\.db cannot be used: no such table: absent"):
        open_database(path, steps=broken)

    with closing(open_database(path)) as db:
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_schema")}
    assert "half" not in tables


async def test_a_newer_database_is_refused_with_both_versions(tmp_path: Path) -> None:
    open_database(tmp_path / "flowdapt.db", steps=ONE_MORE).close()
    before = (tmp_path / "flowdapt.db").read_bytes()

    with pytest.raises(
        StorageError, match=rf"version {len(ONE_MORE)}, and .* up to {len(MIGRATIONS)}; use the"
    ):
        await SqliteStorage(app_dir=tmp_path).start()

    assert (tmp_path / "flowdapt.db").read_bytes() == before


FIRST_LAYOUT = f"""
INSERT INTO resources (kind, uid, name, generation, document) VALUES
    ('config', x'{1:032x}', 'c', 4, '{{"kind": "config", "metadata": {{"name": "c"}}}}');
INSERT INTO runs (uid, name, workflow, state, finished_at, document, result_bytes, result) VALUES
    (x'{2:032x}', 'old-otter', 'w', 'failed', 1.5, '{{"uid": "{UUID(int=2)}", "name": "old-otter",
     "workflow": "w", "state": "failed", "started_at": "2026-01-01T00:00:00Z"}}', 1, x'31'),
    (x'{3:032x}', 'open-otter', 'w', 'running', NULL, '{{"uid": "{UUID(int=3)}",
     "name": "open-otter", "workflow": "w", "state": "running"}}', 0, NULL);
INSERT INTO stages (run, stage, document, result) VALUES
    (1, 's', '{{"stage": "s", "state": "finished", "items": 2, "items_failed": 1}}', x'80');
INSERT INTO log (run, position, stage, count, lines) VALUES (1, 1, 's', 1, '{{}}');
"""


async def test_a_database_of_the_first_layout_keeps_what_it_has_and_takes_events(
    tmp_path: Path,
) -> None:
    with closing(open_database(tmp_path / "flowdapt.db", steps=MIGRATIONS[:1])) as db:
        db.executescript(FIRST_LAYOUT)
        assert version(db) == 1
    storage = SqliteStorage(app_dir=tmp_path)

    await storage.start()

    old, running = await storage.list_runs(RunQuery(newest_first=False))
    assert (old.run.name, old.run.state, old.result) == ("old-otter", RunState.FAILED, b"1")
    assert (old.run.retry_of, old.run.only) == (None, {})
    assert (await storage.get("config", "c"))["metadata"] == {"name": "c"}
    (record,) = await storage.list_stages(old.run.uid)
    assert (record.items_failed, record.failed_items, record.result) == (1, (), b"\x80")
    assert record.elements is None
    assert (await storage.read_log(old.run.uid))[1].count == 1
    assert await storage.last_event() == 0
    event = Event(type="ended", data={}, run=running.run.uid)
    end = running.run.to(RunState.FINISHED)
    await storage.save_run(end, was=RunState.RUNNING, events=[event])
    page = await storage.read_events(EventQuery(run=end.uid))
    assert page.entries == {1: event.text()}
    await storage.stop()


# Files that are none of ours -----------------------------------------------------------------


def files(folder: Path) -> list[Path]:
    return list(folder.iterdir())


@pytest.mark.parametrize("content", [b"{}", b"junk" * 5_000])
async def test_a_file_that_is_no_database_is_refused_and_left_alone(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "data.json").write_bytes(content)
    storage = SqliteStorage(app_dir=tmp_path, path="data.json")

    with pytest.raises(StorageError, match=r"data\.json is no SQLite database; move it away"):
        await storage.start()

    assert [path.read_bytes() for path in files(tmp_path)] == [content]


async def test_the_database_of_another_program_is_refused_and_left_alone(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "flowdapt.db")) as db:
        db.execute("CREATE TABLE theirs (id INTEGER)")
    before = (tmp_path / "flowdapt.db").read_bytes()

    with pytest.raises(StorageError, match=r"flowdapt\.db is the database of another program"):
        await SqliteStorage(app_dir=tmp_path).start()

    assert (tmp_path / "flowdapt.db").read_bytes() == before


async def test_another_file_can_be_named(tmp_path: Path) -> None:
    storage = SqliteStorage(app_dir=tmp_path / "app", path=str(tmp_path / "else" / "my.db"))

    await storage.start()
    await storage.stop()

    assert storage.path == tmp_path / "else" / "my.db"
    with closing(sqlite3.connect(storage.path)) as db:
        assert version(db) == len(MIGRATIONS)


# Searching -----------------------------------------------------------------------------------

ENDED = (RunState.FAILED, RunState.CANCELLED)
OPEN = (RunState.PENDING, RunState.RUNNING)
QUERIES = [
    RunQuery(limit=10),
    RunQuery("w", limit=10),
    RunQuery("w", (RunState.FINISHED,), limit=10),
    RunQuery("w", ENDED, limit=10),
    RunQuery(None, OPEN),
]


@pytest.mark.parametrize("query", QUERIES)
async def test_nothing_is_scanned_and_no_list_of_runs_is_sorted(
    tmp_path: Path, query: RunQuery
) -> None:
    storage, run = SqliteStorage(app_dir=tmp_path), Run(workflow="w")
    statements: list[str] = []
    await storage.start()
    await storage.add_run(run)
    assert storage._db is not None  # traces belong to a connection
    storage._db.set_trace_callback(statements.append)

    await storage.list_runs(query)
    await storage.get_run(run.name)
    await storage.get_run(run.uid)
    await storage.list_stages(run.uid)
    await storage.read_log(run.uid)
    await storage.expired_runs(0, limit=10)
    await storage.delete_run(run.uid)
    await storage.stop()

    reads = [s for s in statements if s.startswith(("SELECT", "DELETE"))]
    with closing(sqlite3.connect(storage.path)) as db:
        plans = [str(db.execute(f"EXPLAIN QUERY PLAN {read}").fetchall()) for read in reads]
    assert len(plans) >= 11
    assert not [plan for plan in plans if "SCAN" in plan]
    sorted_ = [plan for plan in plans if "TEMP B-TREE" in plan]
    assert len(sorted_) == 1  # the stages of one run, which are few
    assert "stages" in sorted_[0]


async def filled(app_dir: Path, *, count: int) -> SqliteStorage:
    """Return a storage with ``count`` runs of ``w``, all but one finished, and a few more."""
    storage = SqliteStorage(app_dir=app_dir)
    await storage.start()
    for name in ("other", "rare", "rare", "rare", "rare"):
        await storage.add_run(Run(workflow=name))
    document = encode(Run(workflow="w", state=RunState.FINISHED).__dict__)
    rows = (
        (number.to_bytes(16), f"r{number}", "finished" if number else "failed", number, document)
        for number in range(count)
    )
    with closing(sqlite3.connect(storage.path)) as db:
        db.executemany(
            "INSERT INTO runs (uid, name, workflow, state, finished_at, document, result)"
            " VALUES (?, ?, 'w', ?, ?, ?, '{}')",
            rows,
        )
        db.commit()
    return storage


async def seconds(storage: SqliteStorage, query: RunQuery) -> float:
    """Return the time of a list, the best of many."""
    times = []
    for _ in range(30):
        start = time.perf_counter()
        await storage.list_runs(query)
        times.append(time.perf_counter() - start)
    return min(times)


async def test_a_list_among_100_000_runs_takes_no_longer_than_among_1_000(tmp_path: Path) -> None:
    few = await filled(tmp_path / "few", count=1_000)
    many = await filled(tmp_path / "many", count=100_000)

    for query in (*QUERIES, RunQuery("rare", limit=10), RunQuery("rare", ENDED, limit=10)):
        found = await many.list_runs(query)
        assert len(found) == len(await few.list_runs(query))
        assert await seconds(many, query) <= 3 * await seconds(few, query)

    await few.stop()
    await many.stop()
