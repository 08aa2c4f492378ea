"""A storage that forgets everything when its process ends: for scripts and tests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import dropwhile, islice, takewhile
from pathlib import Path
from typing import Any
from uuid import UUID

from flowdapt.errors import ResourceChanged, ResourceExists, ResourceNotFound, UnlawfulTransition
from flowdapt.events import Event
from flowdapt.resources import now
from flowdapt.runs import Run, RunState, StageRecord
from flowdapt.storage import (
    INLINE_BYTES,
    RUN_KIND,
    Document,
    EventPage,
    EventQuery,
    LogBlock,
    RunQuery,
    Storage,
    StoredRun,
)


@dataclass(slots=True)
class _Kept:
    """A run with all that belongs to it."""

    stored: StoredRun
    stages: dict[str, StageRecord] = field(default_factory=dict)
    log: list[LogBlock] = field(default_factory=list)
    chunks: dict[str, list[bytes]] = field(default_factory=dict)


class MemoryStorage(Storage):
    """Keeps resources and runs in the memory of this process, values that are no JSON included."""

    def __init__(self, *, app_dir: Path = Path()) -> None:
        super().__init__(app_dir=app_dir)
        self._documents: dict[str, dict[UUID, Document]] = {}
        self._runs: dict[UUID, _Kept] = {}  # in the order of acceptance
        self._events: dict[int, tuple[Event, bytes]] = {}  # by position
        self._blobs: dict[str, tuple[bytes, datetime | None]] = {}
        self._last_event = 0
        self._forgotten: dict[str, int] = {}  # by channel

    async def start(self) -> None:
        """Do nothing: there is nothing to open."""

    async def stop(self) -> None:
        """Do nothing: what is stored stays as long as this object."""

    # Resources -------------------------------------------------------------------------------

    async def create(self, document: Document, *, events: Sequence[Event] = ()) -> None:
        kind, uid = document["kind"], _uid(document)
        self._check_name(document)
        if uid in self._documents.setdefault(kind, {}):
            raise ResourceExists(kind, _name(document))
        self._documents[kind][uid] = _copy(document)
        self._keep(events)

    async def replace(
        self, document: Document, *, expected: int, events: Sequence[Event] = ()
    ) -> None:
        kind, uid = document["kind"], _uid(document)
        present = self._documents.get(kind, {}).get(uid)
        if present is None:
            raise ResourceNotFound(kind, _name(document))
        if (found := present["metadata"]["generation"]) != expected:
            raise ResourceChanged(kind, _name(present), expected, found)
        self._check_name(document)
        self._documents[kind][uid] = _copy(document)
        self._keep(events)

    async def get(self, kind: str, identifier: str | UUID) -> Document:
        documents = self._documents.get(kind, {})
        if isinstance(identifier, UUID):
            found = documents.get(identifier)
        else:
            found = next((d for d in documents.values() if _name(d) == identifier), None)
        if found is None:
            raise ResourceNotFound(kind, str(identifier))
        copy: Document = _copy(found)
        return copy

    async def list(self, kind: str) -> Sequence[Document]:
        return [_copy(document) for document in self._documents.get(kind, {}).values()]

    async def delete(self, kind: str, uid: UUID, *, events: Sequence[Event] = ()) -> None:
        if self._documents.get(kind, {}).pop(uid, None) is None:
            raise ResourceNotFound(kind, str(uid))
        self._keep(events)

    def _check_name(self, document: Document) -> None:
        kind, name, uid = document["kind"], _name(document), _uid(document)
        others = self._documents.get(kind, {})
        if any(_name(other) == name for key, other in others.items() if key != uid):
            raise ResourceExists(kind, name)

    # Runs ------------------------------------------------------------------------------------

    async def add_run(self, run: Run, *, events: Sequence[Event] = ()) -> None:
        if run.uid in self._runs:
            raise ResourceExists(RUN_KIND, run.name)
        self._runs[run.uid] = _Kept(StoredRun(_own(run)))
        self._keep(events)

    async def save_run(
        self,
        run: Run,
        *,
        was: RunState,
        result: bytes | memoryview | None = None,
        last: StageRecord | None = None,
        events: Sequence[Event] = (),
    ) -> None:
        kept = self._kept(run.uid)
        if (state := kept.stored.run.state) != was:
            raise UnlawfulTransition(run.name, state, run.state)
        text = None if result is None else bytes(result)
        kept.stored = StoredRun(_own(run), text, len(text or b""))
        if last is not None:
            kept.stages[last.stage] = last
        if run.state.final:
            kept.chunks.clear()
        self._keep(events)

    async def find_run(self, identifier: str | UUID) -> Run:
        return (await self.get_run(identifier)).run

    async def get_run(self, identifier: str | UUID) -> StoredRun:
        if isinstance(identifier, UUID):
            return self._kept(identifier).stored
        for stored in self._newest():
            if stored.run.name == identifier:
                return stored
        raise ResourceNotFound(RUN_KIND, identifier)

    async def list_runs(self, query: RunQuery) -> Sequence[StoredRun]:
        runs = reversed(self._runs.values()) if query.newest_first else self._runs.values()
        found: Iterator[StoredRun] = (kept.stored for kept in runs)
        if query.cursor is not None:
            self._kept(query.cursor)
            found = dropwhile(lambda stored: stored.run.uid != query.cursor, found)
            next(found)
        chosen = (stored for stored in found if _matches(stored.run, query))
        return [_listed(stored) for stored in islice(chosen, query.limit)]

    async def delete_run(self, uid: UUID) -> None:
        self._kept(uid)
        del self._runs[uid]

    async def expired_runs(self, seconds: float, *, limit: int) -> Sequence[UUID]:
        before = now() - timedelta(seconds=seconds)
        ended: list[tuple[datetime, UUID]] = [
            (run.finished_at, uid)
            for uid, kept in self._runs.items()
            if (run := kept.stored.run).finished_at is not None and run.finished_at < before
        ]
        ended.sort(key=lambda pair: pair[0])
        return [uid for _, uid in ended[:limit]]

    def _kept(self, uid: UUID) -> _Kept:
        try:
            return self._runs[uid]
        except KeyError:
            raise ResourceNotFound(RUN_KIND, str(uid)) from None

    def _newest(self) -> Iterator[StoredRun]:
        return (kept.stored for kept in reversed(self._runs.values()))

    # Stages and logs -------------------------------------------------------------------------

    async def save_stage(
        self, run: UUID, record: StageRecord, *, events: Sequence[Event] = ()
    ) -> None:
        self._kept(run).stages[record.stage] = record
        self._keep(events)

    async def list_stages(self, run: UUID) -> Sequence[StageRecord]:
        kept = self._runs.get(run)
        return [] if kept is None else [*kept.stages.values()]

    async def save_chunk(self, run: UUID, stage: str, chunk: bytes | None) -> None:
        chunks = self._kept(run).chunks
        if chunk is None:
            chunks.pop(stage, None)
        else:
            chunks.setdefault(stage, []).append(chunk)

    async def list_chunks(self, run: UUID) -> Mapping[str, Sequence[bytes]]:
        kept = self._runs.get(run)
        return {} if kept is None else {stage: [*some] for stage, some in kept.chunks.items()}

    async def append_log(self, run: UUID, block: LogBlock) -> None:
        self._kept(run).log.append(block)

    async def read_log(
        self, run: UUID, *, after: int = 0, limit: int = 100
    ) -> Mapping[int, LogBlock]:
        kept = self._runs.get(run)
        log = [] if kept is None else kept.log[after : after + limit]
        return dict(enumerate(log, after + 1))

    # Bytes -----------------------------------------------------------------------------------

    async def save_blob(self, key: str, blob: bytes, *, seconds: float | None = None) -> None:
        self._blobs[key] = blob, now() + timedelta(seconds=seconds) if seconds is not None else None

    async def load_blob(self, key: str) -> bytes | None:
        blob, expires = self._blobs.get(key, (None, None))
        return None if expires is not None and expires <= now() else blob

    async def delete_blobs(self, prefix: str) -> None:
        gone = [k for k in self._blobs if prefix and k.startswith(prefix)]
        for key in [*gone, *(k for k, (_, end) in self._blobs.items() if end and end <= now())]:
            self._blobs.pop(key, None)

    # Events ----------------------------------------------------------------------------------

    async def append_event(self, event: Event) -> None:
        self._keep([event])

    def _keep(self, events: Iterable[Event]) -> None:
        for event in events:
            self._last_event += 1
            self._events[self._last_event] = event, event.text()

    async def read_events(self, query: EventQuery) -> EventPage:
        found = ((at, text) for at, (event, text) in self._behind(query) if _fits(event, query))
        entries = dict(islice(found, query.limit))
        if len(entries) == query.limit:
            return EventPage(entries, [*entries][-1])
        if query.newest_first:
            first = next(iter(self._events), query.after)
            return EventPage(entries, min(first, query.after or first))
        return EventPage(entries, max(self._last_event, query.after))

    def _behind(self, query: EventQuery) -> Iterable[tuple[int, tuple[Event, bytes]]]:
        # From the end in both directions, because whoever asks often is near to it.
        after, entries = query.after, reversed(self._events.items())
        if query.newest_first:
            return dropwhile(lambda entry: 0 < after <= entry[0], entries)
        return reversed([*takewhile(lambda entry: entry[0] > after, entries)])

    async def last_event(self) -> int:
        return self._last_event

    async def event_channels(self) -> Sequence[str]:
        return [*dict.fromkeys(event.channel for event, _ in self._events.values())]

    async def trim_events(self, channel: str, seconds: float, *, limit: int) -> int:
        before = now() - timedelta(seconds=seconds)
        old = takewhile(lambda entry: entry[1][0].time < before, self._events.items())
        found = (position for position, (event, _) in old if event.channel == channel)
        positions = [*islice(found, limit)]
        for position in positions:
            del self._events[position]
            self._forgotten[channel] = position
        return len(positions)

    async def forgotten_events(self) -> Mapping[str, int]:
        return dict(self._forgotten)


def _uid(document: Document) -> UUID:
    return UUID(str(document["metadata"]["uid"]))


def _name(document: Document) -> str:
    name: str = document["metadata"]["name"]
    return name


def _copy(value: Any) -> Any:
    """Return a copy of JSON-like data; other things in it, such as functions, are shared."""
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list) else value


def _own(run: Run) -> Run:
    """Return the run with an input and a config that nobody else can change."""
    try:
        return run.model_copy(update={"input": _copy(run.input), "config": _copy(run.config)})
    except RecursionError:  # it is in itself, or a thousand lists deep
        return run


def _matches(run: Run, query: RunQuery) -> bool:
    return (
        query.workflow in (None, run.workflow)
        and (not query.states or run.state in query.states)
        and (query.since is None or query.since <= run.started_at)
        and (query.until is None or run.started_at < query.until)
    )


def _fits(event: Event, query: EventQuery) -> bool:
    return (
        (not query.channels or event.channel in query.channels)
        and query.run in (None, event.run)
        and query.workflow in (None, event.workflow)
        and query.subject in (None, event.subject)
    )


def _listed(stored: StoredRun) -> StoredRun:
    return replace(stored, result=None) if stored.result_bytes > INLINE_BYTES else stored
