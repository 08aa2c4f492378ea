"""The storage contract over one SQLite file, and a folder for large results."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from uuid import UUID

from flowdapt.errors import StorageError
from flowdapt.events import WORKFLOWS, Event
from flowdapt.resources import now
from flowdapt.runs import Run, RunState, StageRecord
from flowdapt.storage import (
    INLINE_BYTES,
    Document,
    EventPage,
    EventQuery,
    LogBlock,
    RunQuery,
    Storage,
    StoredRun,
)
from flowdapt_sqlite import blobs, resources, runs, stages
from flowdapt_sqlite import events as kept_events
from flowdapt_sqlite.checkpoints import Checkpoints
from flowdapt_sqlite.commits import Commits
from flowdapt_sqlite.database import open_database
from flowdapt_sqlite.events import with_events
from flowdapt_sqlite.results import ResultFiles
from flowdapt_sqlite.runs import Result

logger = logging.getLogger(__name__)

PAGE = 100  #: runs read at a time, so that a long list does not hold up the loop


class SqliteStorage(Storage):
    """Keeps resources and runs in ``flowdapt.db``, and large results in files beside it.

    It belongs to the event loop that started it.

    :param path: the database file, taken from ``app_dir`` where it is relative
    """

    def __init__(self, *, app_dir: Path, path: str | Path = "flowdapt.db") -> None:
        super().__init__(app_dir=app_dir)
        self.path = app_dir / Path(path).expanduser()
        self._results = ResultFiles(app_dir / "results")
        self._checkpoints = Checkpoints(self.path)
        self._db: sqlite3.Connection | None = None
        self._open: Commits | None = None
        self._sweep: asyncio.Future[None] | None = None
        self._no_runs_before = 1  # the position up to which old events of runs are gone

    async def start(self) -> None:
        """Open the database, and remove results that a killed server left without a run."""
        self._db = await asyncio.to_thread(open_database, self.path)
        self._open = Commits(self._db, self.path, after=self._checkpoints.committed)
        names = await asyncio.to_thread(self._results.names)
        if names:
            loop = asyncio.get_running_loop()
            self._sweep = loop.run_in_executor(None, self._results.sweep, names, self.path)

    async def stop(self) -> None:
        """Commit what is pending and close the database, which empties the write-ahead log."""
        if self._db is None or self._open is None:
            return
        db, commits, self._db, self._open = self._db, self._open, None, None
        await commits.drained()
        await self._checkpoints.finished()
        if self._sweep is not None:
            (swept,) = await asyncio.gather(self._sweep, return_exceptions=True)
            if swept is not None:
                logger.warning("results without a run could not be removed: %s", swept)
        await asyncio.to_thread(db.close)

    @property
    def _commits(self) -> Commits:
        if self._open is None:
            raise StorageError(f"{self.path} is not open")
        return self._open

    # Resources -------------------------------------------------------------------------------

    async def create(self, document: Document, *, events: Sequence[Event] = ()) -> None:
        row = resources.row(document)
        await self._commits.submit(with_events(lambda db: resources.insert(db, row), events))

    async def replace(
        self, document: Document, *, expected: int, events: Sequence[Event] = ()
    ) -> None:
        row = resources.row(document)
        change = with_events(lambda db: resources.update(db, row, expected), events)
        await self._commits.submit(change)

    async def get(self, kind: str, identifier: str | UUID) -> Document:
        return await self._commits.read(lambda db: resources.select(db, kind, identifier))

    async def list(self, kind: str) -> Sequence[Document]:
        return await self._commits.read(lambda db: resources.select_all(db, kind))

    async def delete(self, kind: str, uid: UUID, *, events: Sequence[Event] = ()) -> None:
        await self._commits.submit(with_events(lambda db: resources.delete(db, kind, uid), events))

    # Runs ------------------------------------------------------------------------------------

    async def add_run(self, run: Run, *, events: Sequence[Event] = ()) -> None:
        text = runs.document(run)
        await self._commits.submit(with_events(lambda db: runs.insert(db, run, text), events))

    async def save_run(
        self,
        run: Run,
        *,
        was: RunState,
        result: bytes | memoryview | None = None,
        last: StageRecord | None = None,
        events: Sequence[Event] = (),
    ) -> None:
        if result is not None and memoryview(result).nbytes > INLINE_BYTES:
            name = await asyncio.to_thread(self._results.write, run.uid, result)
            kept = Result(memoryview(result).nbytes, name)
            await self._keeping(name, self._saved(run, was, kept, last, events))
        else:
            kept = Result() if result is None else Result(len(result), None, result)
            await self._saved(run, was, kept, last, events)

    def _saved(
        self,
        run: Run,
        was: RunState,
        result: Result,
        last: StageRecord | None,
        events: Sequence[Event],
    ) -> asyncio.Future[None]:
        text = runs.document(run)
        last_text = b"" if last is None else stages.document(last)

        def write(db: sqlite3.Connection) -> None:
            runs.update(db, run, text, was=was, result=result)
            if last is not None:
                stages.upsert(db, run.uid, last, last_text)

        return self._commits.submit(with_events(write, events))

    async def _keeping(self, name: str, saved: asyncio.Future[None]) -> None:
        """Wait until a result's file has its row; without one it is removed."""
        try:
            await saved
        except BaseException:
            # Whoever waits may be cancelled in the very turn of the commit; then the row names it.
            if saved.cancelled() or saved.exception() is not None:
                await asyncio.to_thread(self._results.remove, name)
            raise

    async def find_run(self, identifier: str | UUID) -> Run:
        return (await self._commits.read(lambda db: runs.select(db, identifier))).stored().run

    async def get_run(self, identifier: str | UUID) -> StoredRun:
        row = await self._commits.read(lambda db: runs.select(db, identifier))
        if row.result_file is None:
            return row.stored()
        result = await asyncio.to_thread(self._results.read, row.result_file, row.result_bytes)
        if result is not None:
            return StoredRun(row.stored().run, result, row.result_bytes)
        await self._commits.read(lambda db: runs.select(db, identifier))  # deleted meanwhile?
        raise StorageError(f"{self._results.folder / row.result_file} is missing")

    async def list_runs(self, query: RunQuery) -> Sequence[StoredRun]:
        span = await self._commits.read(lambda db: runs.span(db, query))
        found: list[StoredRun] = []
        while True:
            page = PAGE if query.limit is None else min(PAGE, query.limit - len(found))
            rows = await self._commits.read(
                lambda db: runs.select_within(db, query, span, limit=page)  # noqa: B023
            )
            found += [row.stored() for row in rows]
            if len(rows) < PAGE:
                return found
            span = span.behind(rows[-1].seq, newest_first=query.newest_first)
            await asyncio.sleep(0)

    async def delete_run(self, uid: UUID) -> None:
        while await self._commits.submit(lambda db: runs.trim_log(db, uid)):
            pass
        file = await self._commits.submit(lambda db: runs.delete(db, uid))
        if file is not None:
            await asyncio.to_thread(self._results.remove, file)

    async def expired_runs(self, seconds: float, *, limit: int) -> Sequence[UUID]:
        before = now().timestamp() - seconds
        return await self._commits.read(lambda db: runs.select_expired(db, before, limit))

    # Stages and logs -------------------------------------------------------------------------

    async def save_stage(
        self, run: UUID, record: StageRecord, *, events: Sequence[Event] = ()
    ) -> None:
        text = stages.document(record)
        change = with_events(lambda db: stages.upsert(db, run, record, text), events)
        await self._commits.submit(change)

    async def list_stages(self, run: UUID) -> Sequence[StageRecord]:
        return await self._commits.read(lambda db: stages.select(db, run))

    async def save_chunk(self, run: UUID, stage: str, chunk: bytes | None) -> None:
        await self._commits.submit(lambda db: stages.append_chunk(db, run, stage, chunk))

    async def list_chunks(self, run: UUID) -> Mapping[str, Sequence[bytes]]:
        return await self._commits.read(lambda db: stages.select_chunks(db, run))

    async def append_log(self, run: UUID, block: LogBlock) -> None:
        await self._commits.submit(lambda db: stages.append_log(db, run, block))

    async def read_log(self, run: UUID, *, after: int = 0, limit: int = 100) -> dict[int, LogBlock]:
        return await self._commits.read(
            lambda db: stages.select_log(db, run, after=after, limit=limit)
        )

    # Bytes -----------------------------------------------------------------------------------

    async def save_blob(self, key: str, blob: bytes, *, seconds: float | None = None) -> None:
        expires = None if seconds is None else now().timestamp() + seconds
        await self._commits.submit(lambda db: blobs.upsert(db, key, blob, expires))

    async def load_blob(self, key: str) -> bytes | None:
        return await self._commits.read(lambda db: blobs.select(db, key, now().timestamp()))

    async def delete_blobs(self, prefix: str) -> None:
        await self._commits.submit(lambda db: blobs.delete(db, prefix, now().timestamp()))

    # Events ----------------------------------------------------------------------------------

    async def append_event(self, event: Event) -> None:
        rows = kept_events.rows([event])
        await self._commits.submit(lambda db: kept_events.insert(db, rows))

    async def read_events(self, query: EventQuery) -> EventPage:
        return await self._commits.read(lambda db: kept_events.select(db, query))

    async def last_event(self) -> int:
        return await self._commits.read(kept_events.last)

    async def event_channels(self) -> Sequence[str]:
        return await self._commits.read(kept_events.channels)

    async def trim_events(self, channel: str, seconds: float, *, limit: int) -> int:
        before = now().timestamp() - seconds
        end = await self._commits.read(lambda db: kept_events.young(db, before))
        if channel != WORKFLOWS:  # an index tells where they are
            return await self._trimmed(channel, range(end), before, limit)
        removed = 0
        while removed < limit and self._no_runs_before < end:
            begin, left = self._no_runs_before, limit - removed
            positions = range(begin, min(end, begin + kept_events.WINDOW))
            count = await self._trimmed(channel, positions, before, left)
            removed += count
            if count < left:
                self._no_runs_before = positions.stop
        return removed

    async def forgotten_events(self) -> Mapping[str, int]:
        return await self._commits.read(kept_events.forgotten)

    def _trimmed(
        self, channel: str, positions: range, before: float, limit: int
    ) -> asyncio.Future[int]:
        return self._commits.submit(
            lambda db: kept_events.trim(db, channel, positions, before=before, limit=limit)
        )
