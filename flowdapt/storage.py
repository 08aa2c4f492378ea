"""The contract of a storage: where resources and runs are kept.

What a method stored is still there after ``kill -9`` of the process as soon as the method returned.
Every method may raise :class:`flowdapt.errors.StorageError`, and then nothing of it was stored.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson

from flowdapt.events import Event
from flowdapt.resources import timestamp
from flowdapt.runs import Run, RunState, StageRecord

INLINE_BYTES = 64 * 1024  #: results up to this size are listed with their runs

RUN_KIND = "workflow_run"  #: what errors about runs carry as their kind

Document = dict[str, Any]  #: a resource as plain JSON data: ``kind``, ``metadata``, ``spec``


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A run with its result.

    :param result: JSON text; ``None`` where there is none yet, or where it is left out of a list
    :param result_bytes: the size of the result, also where it is left out
    """

    run: Run
    result: bytes | None = None
    result_bytes: int = 0

    def facts(self) -> dict[str, Any]:
        """Return what events tell of the run: all but its input, its config, a large result."""
        run = self.run
        facts = {k: v for k, v in run.__dict__.items() if k not in _NOT_TOLD}
        facts["started_at"] = timestamp(run.started_at)
        if run.finished_at is not None:
            facts["finished_at"] = timestamp(run.finished_at)
        if self.result is not None and self.result_bytes <= INLINE_BYTES:
            facts["result"] = orjson.loads(self.result)
        return facts | {"result_bytes": self.result_bytes}


_NOT_TOLD = ("input", "config", "code", "only")


@dataclass(frozen=True, slots=True)
class RunQuery:
    """Which runs to list, in the order in which they were accepted.

    :param workflow: the workflow's name
    :param states: any of these; empty means all
    :param since: only those accepted then or later
    :param until: only those accepted before
    :param newest_first: or else the oldest comes first
    :param limit: at most so many; ``None`` means all
    :param cursor: the uid of a run: only those that come behind it in this order
    """

    workflow: str | None = None
    states: Collection[RunState] = ()
    since: datetime | None = None
    until: datetime | None = None
    newest_first: bool = True
    limit: int | None = None
    cursor: UUID | None = None


@dataclass(frozen=True, slots=True)
class EventQuery:
    """Which kept events to read, in the order in which they were kept.

    :param after: only those behind this position in this order; positions are counted from 1, and
        0 stands for all
    :param channels: any of these; empty means all
    :param run: of this run
    :param workflow: of runs of the workflow with this name
    :param subject: about this, such as ``config/<uid>``
    :param newest_first: the other way round: what is behind a position was kept before it
    :param limit: at most so many
    """

    after: int = 0
    channels: Collection[str] = ()
    run: UUID | None = None
    workflow: str | None = None
    subject: str | None = None
    newest_first: bool = False
    limit: int = 100


@dataclass(frozen=True, slots=True)
class EventPage:
    """Kept events, as JSON text under their positions, in the order of the query.

    :param next: how far was looked, for the next query. Where few events fit, a storage may look
        at a part of them only: there are no more once this is the ``after`` of the query.
    """

    entries: Mapping[int, bytes]
    next: int


@dataclass(frozen=True, slots=True)
class LogBlock:
    """Lines that one process wrote for one stage, in order.

    :param lines: JSON objects, one a line, with ``time``, ``stream``, ``level``, ``logger``,
        ``message`` and, in a parameterized stage, ``item``; opaque to the storage
    :param count: how many lines
    """

    stage: str
    lines: bytes
    count: int


class Storage(ABC):
    """Keeps resources, runs, and events.

    Methods that change something take the events that tell of it, and keep both or neither. An
    event whose ``kept`` is false is not given to a storage.

    The keys beside ``target`` in the settings are further keyword arguments of an implementation.

    :param app_dir: a folder the storage may use for its files
    """

    def __init__(self, *, app_dir: Path) -> None:
        self.app_dir = app_dir

    @abstractmethod
    async def start(self) -> None:
        """Open the storage and bring its layout up to date."""

    @abstractmethod
    async def stop(self) -> None:
        """Write what is pending and let go of everything. Harmless when not started."""

    # Resources -------------------------------------------------------------------------------

    @abstractmethod
    async def create(self, document: Document, *, events: Sequence[Event] = ()) -> None:
        """Store a new resource.

        :raises ResourceExists: one of its kind has its name
        """

    @abstractmethod
    async def replace(
        self, document: Document, *, expected: int, events: Sequence[Event] = ()
    ) -> None:
        """Store a resource in place of the one with its ``metadata.uid``; it may have a new name.

        :param expected: the ``metadata.generation`` that is being replaced
        :raises ResourceNotFound: there is none with that uid
        :raises ResourceChanged: its generation is another; nothing was stored
        :raises ResourceExists: its new name belongs to another resource of its kind
        """

    @abstractmethod
    async def get(self, kind: str, identifier: str | UUID) -> Document:
        """Return a resource by name (text) or by uid (:class:`~uuid.UUID`).

        :raises ResourceNotFound: there is none
        """

    @abstractmethod
    async def list(self, kind: str) -> Sequence[Document]:
        """Return all resources of a kind, in the order in which they were created."""

    @abstractmethod
    async def delete(self, kind: str, uid: UUID, *, events: Sequence[Event] = ()) -> None:
        """Remove a resource.

        :raises ResourceNotFound: there is none
        """

    # Runs ------------------------------------------------------------------------------------

    @abstractmethod
    async def add_run(self, run: Run, *, events: Sequence[Event] = ()) -> None:
        """Store a run that was just accepted.

        Its input may hold anything: what JSON has no place for may become text that describes it,
        and the run can be read and listed all the same.

        :raises ResourceExists: a run has its uid
        """

    @abstractmethod
    async def save_run(
        self,
        run: Run,
        *,
        was: RunState,
        result: bytes | memoryview | None = None,
        last: StageRecord | None = None,
        events: Sequence[Event] = (),
    ) -> None:
        """Store the next state of a run, and its result if it has one, in one step.

        :param was: the state that is being left
        :param result: JSON text
        :param last: how the stage went that ended last, to be stored with it
        :raises ResourceNotFound: the run was deleted
        :raises UnlawfulTransition: the stored state is not ``was``; nothing was stored
        """

    @abstractmethod
    async def find_run(self, identifier: str | UUID) -> Run:
        """Return a run as :meth:`get_run` does, without reading its result.

        :raises ResourceNotFound: there is none
        """

    @abstractmethod
    async def get_run(self, identifier: str | UUID) -> StoredRun:
        """Return a run by name (text) or by uid, with its whole result.

        Names of runs are not guarded: of several with one name it is the newest.

        :raises ResourceNotFound: there is none
        """

    @abstractmethod
    async def list_runs(self, query: RunQuery) -> Sequence[StoredRun]:
        """Return runs; results above :data:`INLINE_BYTES` are left out.

        :raises ResourceNotFound: there is no run ``query.cursor``
        """

    @abstractmethod
    async def delete_run(self, uid: UUID) -> None:
        """Remove a run with its stages, log and result.

        :raises ResourceNotFound: there is none
        """

    @abstractmethod
    async def expired_runs(self, seconds: float, *, limit: int) -> Sequence[UUID]:
        """Return runs that reached a final state more than ``seconds`` ago, oldest first."""

    # Stages and logs -------------------------------------------------------------------------

    @abstractmethod
    async def save_stage(
        self, run: UUID, record: StageRecord, *, events: Sequence[Event] = ()
    ) -> None:
        """Store how a stage went, in place of an earlier record of the same stage.

        :raises ResourceNotFound: there is no such run, or it was deleted
        """

    @abstractmethod
    async def list_stages(self, run: UUID) -> Sequence[StageRecord]:
        """Return the stored stages of a run, in the order in which they were first stored.

        There are none where there is no such run.
        """

    @abstractmethod
    async def save_chunk(self, run: UUID, stage: str, chunk: bytes | None) -> None:
        """Store what came of some elements of a stage, for whoever goes on with the run.

        It may be forgotten once the run is in a final state.

        :param chunk: opaque; ``None`` forgets those of the stage
        :raises ResourceNotFound: there is no such run, or it was deleted
        """

    @abstractmethod
    async def list_chunks(self, run: UUID) -> Mapping[str, Sequence[bytes]]:
        """Return the chunks of each stage of a run, in the order in which they were stored."""

    @abstractmethod
    async def append_log(self, run: UUID, block: LogBlock) -> None:
        """Store lines at the end of a run's log.

        :raises ResourceNotFound: there is no such run, or it was deleted
        """

    @abstractmethod
    async def read_log(
        self, run: UUID, *, after: int = 0, limit: int = 100
    ) -> Mapping[int, LogBlock]:
        """Return blocks of a run's log in order, each under its position, counted from 1.

        There are none where there is no such run.

        :param after: only blocks behind this position
        """

    # Bytes -----------------------------------------------------------------------------------

    @abstractmethod
    async def save_blob(self, key: str, blob: bytes, *, seconds: float | None = None) -> None:
        """Store bytes under a key, in place of what was there.

        :param seconds: for how long at least; absent, for ever
        """

    @abstractmethod
    async def load_blob(self, key: str) -> bytes | None:
        """Return what is stored under a key; nothing where there is nothing, or its time is up."""

    @abstractmethod
    async def delete_blobs(self, prefix: str) -> None:
        """Remove what is stored under keys that begin so, and whatever has had its time."""

    # Events ----------------------------------------------------------------------------------

    @abstractmethod
    async def append_event(self, event: Event) -> None:
        """Keep an event that tells of nothing else that is stored."""

    @abstractmethod
    async def read_events(self, query: EventQuery) -> EventPage:
        """Return kept events. Those of a run that was deleted are still there."""

    @abstractmethod
    async def last_event(self) -> int:
        """Return the position of the event that was kept last; 0 where there is none."""

    @abstractmethod
    async def event_channels(self) -> Collection[str]:
        """Return the channels of all kept events; one that is empty by now may be among them."""

    @abstractmethod
    async def trim_events(self, channel: str, seconds: float, *, limit: int) -> int:
        """Forget events of a channel that are older than ``seconds``, the oldest first.

        One that was kept after a younger event may stay. A position is never given to two events:
        the very last event may stay, too.

        :param limit: at most so many
        :return: how many were forgotten
        """

    @abstractmethod
    async def forgotten_events(self) -> Mapping[str, int]:
        """Return the newest position that was forgotten of each channel, where there is one."""
