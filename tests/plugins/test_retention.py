"""What is past its retention is removed: runs that ended, and events."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from flowdapt_cli.reading import settings
from flowdapt_embedded.memory import MemoryStorage
from flowdapt_retention.service import RetentionService
from flowdapt_workers.parts import archive

from flowdapt.errors import ResourceNotFound, StorageError
from flowdapt.events import Event
from flowdapt.objects import attached
from flowdapt.plugins import Plugins
from flowdapt.resources import now
from flowdapt.runs import Run, RunState
from flowdapt.server import Server
from flowdapt.storage import EventQuery, RunQuery

pytestmark = pytest.mark.anyio

Serve = Callable[..., AbstractAsyncContextManager[Server]]
NONE: frozenset[str] = frozenset()


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    """Make servers that start no service, or the given ones, over one application directory."""

    @asynccontextmanager
    async def serve(*overrides: str, only: frozenset[str] = NONE) -> AsyncIterator[Server]:
        chosen = ["services.compute.executor=inline", "rpc.api.port=0", *overrides]
        read = settings.load(tmp_path, "-", environ={}, overrides=chosen)
        async with Server(read, Plugins.load(safe_mode=True), only=only) as server:
            yield server

    return serve


def ended(**ago: float) -> Run:
    """Return a run that ended some time ago."""
    run = Run(workflow="farm").to(RunState.RUNNING).to(RunState.FINISHED)
    return run.model_copy(update={"finished_at": now() - timedelta(**ago)})


async def add_events(server: Server) -> None:
    """Keep events of all ages and channels, of one that nobody here knows too."""
    for days in (400, 30, 6, 0):
        for channel in ("workflows", "resources", "audit", "gossip"):
            told: Any = {"type": f"{channel} {days}", "data": {}, "channel": channel}
            event = Event(time=now() - timedelta(days=days), **told)
            await server.storage.append_event(event)


async def kept_runs(server: Server) -> list[UUID]:
    """Return the runs that are stored, newest first."""
    return [stored.run.uid for stored in await server.storage.list_runs(RunQuery())]


def answers(monkeypatch: pytest.MonkeyPatch, name: str) -> list[Any]:
    """Return a list that what a method of storages in memory returns is added to."""
    noted: list[Any] = []
    method = getattr(MemoryStorage, name)

    async def noting(*args: Any, **options: Any) -> Any:
        noted.append(await method(*args, **options))
        return noted[-1]

    monkeypatch.setattr(MemoryStorage, name, noting)
    return noted


# Runs


async def test_runs_expire_some_time_after_their_end(serve: Serve) -> None:
    old, new, never = ended(hours=2), ended(hours=0), Run(workflow="farm").to(RunState.RUNNING)
    async with serve("services.compute.run_retention_duration=1h", "database=memory") as server:
        for run in (old, new, never):
            await server.storage.add_run(run)

        await RetentionService(server).sweep()

        assert await kept_runs(server) == [never.uid, new.uid]


async def test_runs_are_kept_for_ever_by_default(serve: Serve) -> None:
    async with serve("database=memory") as server:
        await server.storage.add_run(old := ended(days=9999))

        await RetentionService(server).sweep()

        assert await kept_runs(server) == [old.uid]


async def test_many_runs_are_removed_in_small_steps(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowdapt_retention.service.SWEPT_AT_ONCE", 2)
    found = answers(monkeypatch, "expired_runs")
    async with serve("services.compute.run_retention_duration=1m", "database=memory") as server:
        for _ in range(5):
            await server.storage.add_run(ended(hours=2))

        await RetentionService(server).sweep()

    assert [len(runs) for runs in found] == [2, 2, 1, 0]


async def test_a_run_that_somebody_else_deletes_meanwhile_does_no_harm(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    delete = MemoryStorage.delete_run

    async def too_late(self: Any, uid: Any) -> None:
        await delete(self, uid)
        raise ResourceNotFound("workflow_run", str(uid))

    monkeypatch.setattr(MemoryStorage, "delete_run", too_late)
    async with serve("services.compute.run_retention_duration=1h", "database=memory") as server:
        for _ in range(2):
            await server.storage.add_run(ended(hours=2))

        await RetentionService(server).sweep()

        assert await kept_runs(server) == []


# Events

RETAINED: dict[str, tuple[dict[str, Any], dict[str, list[int]]]] = {
    "by default": (
        {},
        {"workflows": [6, 0], "resources": [400, 30, 6, 0], "audit": [30, 6, 0]},
    ),
    "each as it is set": (
        {"retention": "60d", "revisions": "7d", "audit": -1},
        {"workflows": [30, 6, 0], "resources": [6, 0], "audit": [400, 30, 6, 0]},
    ),
    "as little as can be": (
        {"retention": 0, "revisions": 0, "audit": 0},
        {"workflows": [], "resources": [], "audit": []},
    ),
}


@pytest.mark.parametrize(("given", "left"), RETAINED.values(), ids=RETAINED)
@pytest.mark.parametrize("runs", [-1, 0, "1d"], ids=["all runs kept", "none", "some"])
async def test_events_past_their_retention_are_removed_however_long_runs_are_kept(
    serve: Serve, given: dict[str, Any], left: dict[str, list[int]], runs: Any
) -> None:
    chosen = [f"events.{key}={value}" for key, value in given.items()]
    chosen += ["database=memory", f"services.compute.run_retention_duration={runs}"]
    async with serve(*chosen) as server:
        await add_events(server)

        await RetentionService(server).sweep()

        page = await server.storage.read_events(EventQuery())
    left = {**left, "gossip": left["workflows"]}
    expected = [f"{channel} {days}" for channel, kept in left.items() for days in kept]
    types = [json.loads(text)["type"] for text in page.entries.values()]
    assert sorted(types) == sorted(expected)


async def test_events_are_removed_in_small_steps(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowdapt_retention.service.SWEPT_AT_ONCE", 1)
    trimmed = answers(monkeypatch, "trim_events")
    async with serve("database=memory") as server:
        await add_events(server)

        await RetentionService(server).sweep()

    workflows, audit, gossip = [1, 1, 0], [1, 0], [1, 1, 0]
    assert trimmed == [*workflows, *audit, *gossip]


# The service


async def test_what_is_past_its_retention_is_removed_as_soon_as_the_service_starts(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    swept, trim = asyncio.Event(), MemoryStorage.trim_events

    async def noting(*args: Any, **options: Any) -> int:
        swept.set()
        return await trim(*args, **options)

    monkeypatch.setattr(MemoryStorage, "trim_events", noting)
    async with serve("services.compute.run_retention_duration=1d", "database=memory") as server:
        await server.storage.add_run(ended(days=2))
        await add_events(server)
        service = RetentionService(server)

        await service.start()

        await asyncio.wait_for(swept.wait(), 5)
        assert await kept_runs(server) == []
        await service.stop()


async def test_it_starts_before_other_services_and_stops_after_them(serve: Serve) -> None:
    only = frozenset({"metrics", "rest", "retention", "telemetry"})

    async with serve("database=memory", only=only) as server:
        assert min(server.services, key=lambda name: server.services[name].order) == "retention"


async def test_what_cannot_be_removed_is_logged_and_looked_for_again(
    serve: Serve, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowdapt_retention.service.SWEEP_SECONDS", 0)
    times, again = iter(range(2)), asyncio.Event()

    async def channels(_: Any) -> list[str]:
        if next(times, None):
            again.set()
        raise StorageError("the disk is gone")

    monkeypatch.setattr(MemoryStorage, "event_channels", channels)
    async with serve("database=memory", only=frozenset({"retention"})):
        await asyncio.wait_for(again.wait(), 5)

    assert "what is past its retention could not be removed" in caplog.text


async def test_a_workflow_may_keep_its_runs_for_a_shorter_time(serve: Serve) -> None:
    async with serve() as server:
        for name, options in (("farm", {"retention": "1h"}), ("other", {})):
            spec = {"stages": [{"name": "a", "target": "builtins.dict"}], "options": options}
            document = {"kind": "workflow", "metadata": {"name": name}, "spec": spec}
            await server.engine.apply(document)
        for name in ("farm", "other"):
            for run in (ended(hours=2), ended(minutes=30)):
                begun = run.finished_at and run.finished_at - timedelta(minutes=1)
                facts = {"workflow": name, "started_at": begun}
                await server.storage.add_run(run.model_copy(update=facts))

        await RetentionService(server).sweep()

        left = [stored.run.workflow for stored in await server.storage.list_runs(RunQuery())]
        assert sorted(left) == ["farm", "other", "other"]


async def test_runs_that_took_long_hide_none_that_ended_before_them(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowdapt_retention.service.SWEPT_AT_ONCE", 2)
    async with serve() as server:
        spec = {
            "stages": [{"name": "a", "target": "builtins.dict"}],
            "options": {"retention": "1h"},
        }
        document = {"kind": "workflow", "metadata": {"name": "farm"}, "spec": spec}
        await server.engine.apply(document)
        begun = {"started_at": now() - timedelta(hours=3)}
        long = [ended(minutes=n).model_copy(update=begun) for n in (1, 2, 3)]
        short = [ended(hours=2, minutes=n).model_copy(update=begun) for n in (1, 2, 3)]
        for run in (*long, *short):
            await server.storage.add_run(run)

        await RetentionService(server).sweep()

        assert await kept_runs(server) == [run.uid for run in reversed(long)]


async def test_blobs_that_had_their_time_are_removed(serve: Serve, tmp_path: Path) -> None:
    async with serve() as server:
        await server.storage.save_blob("old", b"x", seconds=0)
        await server.storage.save_blob("young", b"y", seconds=60)

        await RetentionService(server).sweep()

        assert await server.storage.load_blob("young") == b"y"
    with closing(sqlite3.connect(tmp_path / "flowdapt.db")) as db:
        assert db.execute("SELECT count(*) FROM blobs WHERE key = 'old'").fetchone() == (0,)


async def test_large_results_of_runs_that_are_over_are_removed(serve: Serve) -> None:
    async with serve() as server:
        spec = {"stages": [{"name": "a", "target": "builtins.dict"}], "options": {"durable": True}}
        document = {"kind": "workflow", "metadata": {"name": "farm"}, "spec": spec}
        await server.engine.apply(document)
        over, open_ = ended(hours=1), Run(workflow="farm").to(RunState.RUNNING)
        for run in (over, open_):
            await server.storage.add_run(run)
        assert server.places.artifacts is not None
        artifacts = attached(server.places.artifacts)
        names = [archive(over.uid.hex), archive(open_.uid.hex), "run-of-somebody"]
        for name in names:
            artifacts.save(name, "large", b"x", hook=None)

        await RetentionService(server)._sweep_archives()

        assert sorted(entry.namespace for entry in artifacts.list()) == sorted(names[1:])
