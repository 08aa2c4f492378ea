"""The contract of a storage: where resources and runs are kept.

What a method stored is still there after ``kill -9`` of the process as soon as the method returned.
Every method may raise :class:`flowdapt.errors.StorageError`, and then nothing of it was stored.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

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


@dataclass(frozen=True, slots=True)
class RunQuery:
    """Which runs to list, newest first.

    :param workflow: the workflow's name
    :param states: any of these; empty means all
    :param limit: at most so many; ``None`` means all
    :param before: a cursor, the uid of a run: only runs that were accepted before it
    """

    workflow: str | None = None
    states: Collection[RunState] = ()
    limit: int | None = None
    before: UUID | None = None


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
    """Keeps resources and runs.

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
    async def create(self, document: Document) -> None:
        """Store a new resource.

        :raises ResourceExists: one of its kind has its name
        """

    @abstractmethod
    async def replace(self, document: Document, *, expected: int) -> None:
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
    async def delete(self, kind: str, uid: UUID) -> None:
        """Remove a resource.

        :raises ResourceNotFound: there is none
        """

    # Runs ------------------------------------------------------------------------------------

    @abstractmethod
    async def add_run(self, run: Run) -> None:
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
        """Return runs, newest first; results above :data:`INLINE_BYTES` are left out.

        :raises ResourceNotFound: there is no run ``query.before``
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
    async def save_stage(self, run: UUID, record: StageRecord) -> None:
        """Store how a stage went, in place of an earlier record of the same stage.

        :raises ResourceNotFound: there is no such run, or it was deleted
        """

    @abstractmethod
    async def list_stages(self, run: UUID) -> Sequence[StageRecord]:
        """Return the stored stages of a run, in the order in which they were first stored.

        There are none where there is no such run.
        """

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
