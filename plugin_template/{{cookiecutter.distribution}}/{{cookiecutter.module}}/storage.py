"""A storage: where resources, runs and events are kept. This one is a journal of all changes.

Every change is written to the end of a file before it is made. What there is at present is in the
memory, in the storage that comes with flowdapt; the journal is read when the server starts.
"""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO
from uuid import UUID

from flowdapt.errors import FlowdaptError, StorageError
from flowdapt.events import Event
from flowdapt.plugins import offered
from flowdapt.runs import Run, RunState, StageRecord
from flowdapt.storage import (
    Document,
    EventPage,
    EventQuery,
    LogBlock,
    RunQuery,
    Storage,
    StoredRun,
)
from flowdapt.texts import to_json

Change = tuple[str, tuple[Any, ...], dict[str, Any]]  #: a method's name, and its arguments


class JournalStorage(Storage):
    """Keeps everything in memory, and in a journal of pickled changes.

    A change that was refused stands in the journal too, and is refused again when it is read. The
    journal only grows: write it anew, from what there is, where that matters.
    """

    def __init__(self, *, app_dir: Path) -> None:
        super().__init__(app_dir=app_dir)
        self.file = app_dir / "journal.pickle"
        self._held: Storage = offered("storages", "memory")()
        self._journal: BinaryIO | None = None

    async def start(self) -> None:
        """Make all changes of the journal again, and open it for more."""
        self._held = offered("storages", "memory")()
        self.file.touch(mode=0o600)
        whole = 0
        for end, (method, args, facts) in _changes(self.file):
            whole = end
            with suppress(FlowdaptError):  # as it was refused the first time
                await getattr(self._held, method)(*args, **facts)
        os.truncate(self.file, whole)  # what follows is a change that was cut off in a crash
        self._journal = self.file.open("ab")

    async def stop(self) -> None:
        """Close the journal."""
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    async def _change(self, method: str, *args: Any, **facts: Any) -> Any:
        if self._journal is None:
            raise StorageError("the journal is not open: start the storage first")
        if "events" in facts:
            facts["events"] = [_plain_event(event) for event in facts["events"]]
        change: Change = (method, args, facts)
        try:
            self._journal.write(pickle.dumps(change))
            self._journal.flush()
            os.fsync(self._journal.fileno())
        except OSError as error:
            raise StorageError(f"{self.file} cannot be written: {error.strerror}") from error
        return await getattr(self._held, method)(*args, **facts)

    # Changes: each is written, then made -------------------------------------------------------

    async def create(self, document: Document, *, events: Sequence[Event] = ()) -> None:
        await self._change("create", document, events=events)

    async def replace(
        self, document: Document, *, expected: int, events: Sequence[Event] = ()
    ) -> None:
        await self._change("replace", document, expected=expected, events=events)

    async def delete(self, kind: str, uid: UUID, *, events: Sequence[Event] = ()) -> None:
        await self._change("delete", kind, uid, events=events)

    async def add_run(self, run: Run, *, events: Sequence[Event] = ()) -> None:
        await self._change("add_run", _plain_run(run), events=events)

    async def save_run(
        self,
        run: Run,
        *,
        was: RunState,
        result: bytes | memoryview | None = None,
        last: StageRecord | None = None,
        events: Sequence[Event] = (),
    ) -> None:
        text = None if result is None else bytes(result)
        facts = {"was": was, "result": text, "last": last, "events": events}
        await self._change("save_run", _plain_run(run), **facts)

    async def delete_run(self, uid: UUID) -> None:
        await self._change("delete_run", uid)

    async def save_stage(
        self, run: UUID, record: StageRecord, *, events: Sequence[Event] = ()
    ) -> None:
        await self._change("save_stage", run, record, events=events)

    async def save_chunk(self, run: UUID, stage: str, chunk: bytes | None) -> None:
        await self._change("save_chunk", run, stage, chunk)

    async def append_log(self, run: UUID, block: LogBlock) -> None:
        await self._change("append_log", run, block)

    async def save_blob(self, key: str, blob: bytes, *, seconds: float | None = None) -> None:
        await self._change("save_blob", key, blob, seconds=seconds)

    async def delete_blobs(self, prefix: str) -> None:
        await self._change("delete_blobs", prefix)

    async def append_event(self, event: Event) -> None:
        await self._change("append_event", _plain_event(event))

    async def trim_events(self, channel: str, seconds: float, *, limit: int) -> int:
        trimmed: int = await self._change("trim_events", channel, seconds, limit=limit)
        return trimmed

    # What there is -----------------------------------------------------------------------------

    async def get(self, kind: str, identifier: str | UUID) -> Document:
        return await self._held.get(kind, identifier)

    async def list(self, kind: str) -> Sequence[Document]:
        return await self._held.list(kind)

    async def find_run(self, identifier: str | UUID) -> Run:
        return await self._held.find_run(identifier)

    async def get_run(self, identifier: str | UUID) -> StoredRun:
        return await self._held.get_run(identifier)

    async def list_runs(self, query: RunQuery) -> Sequence[StoredRun]:
        return await self._held.list_runs(query)

    async def expired_runs(self, seconds: float, *, limit: int) -> Sequence[UUID]:
        return await self._held.expired_runs(seconds, limit=limit)

    async def list_stages(self, run: UUID) -> Sequence[StageRecord]:
        return await self._held.list_stages(run)

    async def list_chunks(self, run: UUID) -> Mapping[str, Sequence[bytes]]:
        return await self._held.list_chunks(run)

    async def load_blob(self, key: str) -> bytes | None:
        return await self._held.load_blob(key)

    async def read_log(
        self, run: UUID, *, after: int = 0, limit: int = 100
    ) -> Mapping[int, LogBlock]:
        return await self._held.read_log(run, after=after, limit=limit)

    async def read_events(self, query: EventQuery) -> EventPage:
        return await self._held.read_events(query)

    async def last_event(self) -> int:
        return await self._held.last_event()

    async def event_channels(self) -> Collection[str]:
        return await self._held.event_channels()

    async def forgotten_events(self) -> Mapping[str, int]:
        return await self._held.forgotten_events()


def _changes(file: Path) -> Iterator[tuple[int, Change]]:
    """Yield the changes in a journal, each with the position of its end."""
    with file.open("rb") as stream:
        while True:
            try:
                change: Change = pickle.load(stream)
            except (EOFError, pickle.UnpicklingError):
                return
            yield stream.tell(), change


def _plain_run(run: Run) -> Run:
    """Return a run whose input can be pickled, whatever it is: JSON, or texts that describe it."""
    return run.model_copy(update={"input": json.loads(to_json(run.input))})


def _plain_event(event: Event) -> Event:
    return replace(event, data=json.loads(event.text())["data"])
