"""Events in SQLite: what survives a kill, and how they are searched and forgotten."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from flowdapt_sqlite.storage import SqliteStorage

from flowdapt.events import AUDIT, RESOURCES, WORKFLOWS, Event
from flowdapt.resources import now
from flowdapt.runs import Run, RunState
from flowdapt.storage import EventQuery, RunQuery

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def storage(tmp_path: Path) -> AsyncIterator[SqliteStorage]:
    storage = SqliteStorage(app_dir=tmp_path)
    await storage.start()
    yield storage
    await storage.stop()


def an_event(channel: str, ago: float) -> Event:
    """Return an event of the past."""
    return Event(type="t", data={}, channel=channel, time=now() - timedelta(seconds=ago))


# Processes that die --------------------------------------------------------------------------

WRITER = """
import asyncio, sys
from pathlib import Path
from flowdapt.events import Event
from flowdapt.runs import Run, RunState, StageRecord
from flowdapt_sqlite.storage import SqliteStorage

async def life(storage):
    run = Run(workflow="w")
    told = lambda what: [Event(type=what, data={}, run=run.uid, workflow="w")]
    await storage.add_run(run, events=told("began"))
    print(run.uid, "began", flush=True)
    await storage.save_stage(run.uid, StageRecord(stage="s"), events=told("stage"))
    print(run.uid, "stage", flush=True)
    end = run.to(RunState.RUNNING).to(RunState.FINISHED)
    await storage.save_run(end, was=RunState.PENDING, result=b"1", events=told("ended"))
    print(run.uid, "ended", flush=True)

async def main():
    storage = SqliteStorage(app_dir=Path(sys.argv[1]))
    await storage.start()
    while True:
        await asyncio.gather(*(life(storage) for _ in range(20)))

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


async def test_after_kill_9_each_change_is_there_with_its_event_or_neither_is(
    tmp_path: Path,
) -> None:
    lines = acknowledged_before_kill_9(tmp_path)

    storage = SqliteStorage(app_dir=tmp_path)
    await storage.start()
    told: dict[UUID, list[str]] = {}
    for stored in await storage.list_runs(RunQuery()):
        page = await storage.read_events(EventQuery(run=stored.run.uid))
        told[stored.run.uid] = [json.loads(text)["type"] for text in page.entries.values()]
        stages = await storage.list_stages(stored.run.uid)
        steps = ["began", *("stage" for _ in stages)]
        assert told[stored.run.uid] == steps + ["ended"] * (stored.run.state is RunState.FINISHED)
    for line in lines:
        uid, what = line.split()
        assert what in told[UUID(uid)]
    last = await storage.last_event()
    await storage.stop()
    assert last == sum(map(len, told.values()))


# Searching -----------------------------------------------------------------------------------


@pytest.mark.parametrize("newest_first", [False, True])
async def test_no_list_of_events_is_sorted_and_all_are_found_by_their_key(
    storage: SqliteStorage, newest_first: bool
) -> None:
    run = Run(workflow="w")
    await storage.add_run(run, events=[an_event(WORKFLOWS, 0)])
    statements: list[str] = []
    assert storage._db is not None  # traces belong to a connection
    storage._db.set_trace_callback(statements.append)

    await storage.read_events(EventQuery(run=run.uid, newest_first=newest_first))
    await storage.read_events(EventQuery(run=uuid4(), newest_first=newest_first))
    await storage.read_events(
        EventQuery(subject="config/1", channels=(RESOURCES,), newest_first=newest_first)
    )
    await storage.read_events(EventQuery(channels=(AUDIT,), newest_first=newest_first))
    await storage.read_events(EventQuery(channels=(WORKFLOWS,), newest_first=newest_first))
    await storage.delete_run(run.uid)

    reads = [s for s in statements if " events " in s]
    with closing(sqlite3.connect(storage.path)) as db:
        plans = [str(db.execute(f"EXPLAIN QUERY PLAN {read}").fetchall()) for read in reads]
    assert not [plan for plan in plans if "SCAN" in plan or "TEMP B-TREE" in plan]
    used = ["run", "subject", "subject", "channel"]
    found = [plan for plan in plans if "USING INDEX events_by" in plan]
    assert [plan.partition("events_by_")[2].partition(" ")[0] for plan in found] == [*used, "run"]


async def test_a_page_of_rare_events_looks_at_a_part_of_them_only(
    storage: SqliteStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowdapt_sqlite.events.WINDOW", 10)
    for i in range(25):
        event = Event(type=f"{i}", data={}, workflow="rare" if i == 22 else "often")
        await storage.append_event(event)

    pages = [
        await storage.read_events(EventQuery(workflow="rare", after=after)) for after in (0, 10, 20)
    ]

    assert [(list(page.entries), page.next) for page in pages] == [([], 10), ([], 20), ([23], 25)]


async def test_a_page_of_rare_events_looks_at_the_newest_part_where_they_come_first(
    storage: SqliteStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowdapt_sqlite.events.WINDOW", 10)
    for i in range(25):
        event = Event(type=f"{i}", data={}, workflow="rare" if i == 2 else "often")
        await storage.append_event(event)

    pages = [
        await storage.read_events(EventQuery(workflow="rare", after=after, newest_first=True))
        for after in (0, 16, 6, 1)
    ]

    found = [(list(page.entries), page.next) for page in pages]
    assert found == [([], 16), ([], 6), ([3], 1), ([], 1)]


async def test_the_newest_of_very_many_events_are_read_without_looking_at_the_others(
    storage: SqliteStorage,
) -> None:
    for i in range(3_000):
        await storage.append_event(an_event(AUDIT if i % 2 else WORKFLOWS, 0))
    assert storage._db is not None
    steps = 0

    def step() -> None:
        nonlocal steps
        steps += 1

    async def effort(**query: Any) -> int:
        before = steps
        assert len((await storage.read_events(EventQuery(limit=10, **query))).entries) == 10
        return steps - before

    storage._db.set_progress_handler(step, 10)
    for query in ({}, {"channels": (AUDIT,)}):
        first, newest = await effort(**query), await effort(**query, newest_first=True)
        assert newest <= first + 1
    storage._db.set_progress_handler(None, 0)


# Forgetting ----------------------------------------------------------------------------------


async def test_old_events_are_looked_at_a_part_at_a_time_and_only_once(
    storage: SqliteStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowdapt_sqlite.events.WINDOW", 10)
    for i in range(45):
        await storage.append_event(an_event(RESOURCES if i % 2 else WORKFLOWS, 600))
    await storage.append_event(an_event(WORKFLOWS, 0))
    statements: list[str] = []
    assert storage._db is not None
    storage._db.set_trace_callback(statements.append)

    removed = [await storage.trim_events(WORKFLOWS, 300, limit=100) for _ in range(3)]

    assert removed == [23, 0, 0]
    assert len([s for s in statements if s.startswith("DELETE")]) == 5
    assert len((await storage.read_events(EventQuery(channels=(RESOURCES,)))).entries) == 22


async def test_events_are_never_taken_for_older_than_they_are_where_the_clock_was_set_back(
    storage: SqliteStorage,
) -> None:
    for ago in (600, 0, 900, 0, 600, 0):
        await storage.append_event(an_event(WORKFLOWS, ago))

    await storage.trim_events(WORKFLOWS, 300, limit=100)

    left = (await storage.read_events(EventQuery())).entries
    assert {2, 4, 6} <= set(left)


async def test_what_was_forgotten_is_looked_for_by_keys_alone(storage: SqliteStorage) -> None:
    for channel in (WORKFLOWS, AUDIT, "gossip", WORKFLOWS):
        await storage.append_event(an_event(channel, 600))
    statements: list[str] = []
    assert storage._db is not None
    storage._db.set_trace_callback(statements.append)

    for channel in await storage.event_channels():
        await storage.trim_events(channel, 300, limit=100)

    looks = [s for s in statements if "FROM events" in s]
    with closing(sqlite3.connect(storage.path)) as db:
        plans = [str(db.execute(f"EXPLAIN QUERY PLAN {look}").fetchall()) for look in looks]
    assert await storage.last_event() == 4
    assert len((await storage.read_events(EventQuery())).entries) == 1
    assert not [plan for plan in plans if "SCAN" in plan or "TEMP B-TREE" in plan]
