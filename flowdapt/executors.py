"""The contract of an executor: where stages are computed.

An executor is handed calls and answers with references. What one stage returns and the next takes
stays with the executor: the engine passes references on and never looks into them.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID

from flowdapt.context import Places, WorkflowRunContext
from flowdapt.errors import StageError
from flowdapt.runs import FailedItem, Failure, Selection
from flowdapt.snapshots import Snapshots
from flowdapt.stages import Target
from flowdapt.storage import LogBlock

LOST_ATTEMPTS = 3  #: how often a call is tried when each time the process computing it dies
FAILURES_KEPT = 10  #: how many failures of elements are kept with their tracebacks

Ref = Any  #: a result that stays with its executor; only that executor looks into it


@dataclass(frozen=True, slots=True)
class Call:
    """One stage of one run, ready to be computed.

    :param run: whose call it is; with ``stage`` it is the call's identity
    :param context: what the stage sees as its run context; one object for all calls of a run
    :param target: an import path, or the function itself where a script gave one
    :param type: the address of the stage type, as ``module:attribute``
    :param options: the stage's options, for its type
    :param args: results of the stages that it depends on, in order
    :param takes_input: the run's input becomes keyword arguments
    :param resources: amounts, ``memory`` in bytes; without ``cpus`` a call takes one
    :param code: names the source of user modules to use; see :mod:`flowdapt.snapshots`
    :param final: the result is the run's: give it as JSON too
    :param mapped_on: a later stage maps over the result: keep it in parts if it is a list
    :param priority: higher goes first, where an executor knows of such
    :param durable: later servers are to have the result, too, however large it is
    """

    run: UUID
    stage: str
    context: WorkflowRunContext
    target: Target
    type: str
    options: Mapping[str, Any] = field(default_factory=dict)
    args: tuple[Ref, ...] = ()
    takes_input: bool = False
    resources: Mapping[str, float] = field(default_factory=dict)
    code: str = ""
    final: bool = False
    mapped_on: bool = False
    priority: int = 0
    durable: bool = False


@dataclass(frozen=True, slots=True)
class MapCall(Call):
    """A stage that is computed once for each element of a list.

    An element has an index, its place in the list. Through mapped calls over one another it keeps
    the index that it had in the first list, whatever was left out before it.

    :param over: the list: a result, or the handle of another mapped call, whose elements may be
        taken as they come; ``None`` means the list ``context.input[map_on]``
    :param map_on: a key of the run's input that holds the list
    :param allow_partial_failure: leave out elements that raise, instead of failing
    :param chunk_size: elements a message; by default it follows the measured time
    :param only: the elements to compute; absent, all
    :param known: what came of some elements before, as :class:`Progress` told it to an earlier
        server; they are not computed again
    """

    over: Ref | Handle | None = None
    map_on: str | None = None
    allow_partial_failure: bool = True
    chunk_size: int | None = None
    only: Selection | None = None
    known: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """A stage was computed.

    :param ref: the result, for later calls of the same run
    :param json: the result as JSON text, of a final call
    :param stored: the result as opaque bytes, if it is small; ``ref`` can be made from it again
    :param items: how many elements a mapped call had
    :param failures: elements that were left out, the first :data:`FAILURES_KEPT` of them
    :param failed_items: all of them, in their order
    :param elements: of a mapped call, how long each element took and how often it was tried,
        packed as :mod:`flowdapt_workers.tallies` does it; absent where that is not known
    :param cpu_seconds: of all attempts; absent where nobody knows it
    :param used: further amounts, each under a name that ends in its unit
    :param result_bytes: the size of the result as later stages have it; absent where that is not
        known without pickling it
    :param skipped: the stage was not computed, and ``ref`` is of what stands for its result
    """

    ref: Ref
    json: bytes | memoryview | None = None
    stored: bytes | None = None
    items: int | None = None
    items_failed: int = 0
    failures: tuple[Failure, ...] = ()
    failed_items: tuple[FailedItem, ...] = ()
    elements: bytes | None = None
    attempts: int = 1
    worker: str | None = None
    cpu_seconds: float | None = None
    used: Mapping[str, float] = field(default_factory=dict)
    result_bytes: int | None = None
    skipped: bool = False


class StageFailed(StageError):
    """A stage raised.

    :param failure: what is known of it as text
    :param exception: the exception itself, where it was raised in this process
    :param pickled: the exception as a payload, where it was raised in another
    """

    def __init__(
        self,
        failure: Failure,
        exception: BaseException | None = None,
        *,
        pickled: bytes | None = None,
    ) -> None:
        super().__init__(f"stage {failure.stage!r} failed: {failure.type}: {failure.message}")
        self.failure, self.exception, self.pickled = failure, exception, pickled


class Handle:
    """A call that was submitted.

    :param outcome: done when the call is; raises :class:`StageFailed`, or another
        :class:`~flowdapt.errors.StageError` where the stage is not to blame
    """

    def __init__(self, outcome: asyncio.Future[Outcome]) -> None:
        self.outcome = outcome

    def facts(self) -> Mapping[str, Any]:
        """Return what is known of it without an outcome, or with one that a policy refuses.

        :return: some of what an :class:`Outcome` tells, named as a stage's record has it
        """
        return {}


@dataclass(frozen=True, slots=True)
class Progress:
    """A call moved on: it started on a worker, or elements of it were computed.

    :param waiting: for what it waits, where that is not there at present
    :param chunks: what came of elements that were computed since the last time, opaque, for a
        later :class:`MapCall` whose ``over`` is the same; what is large is left out
    :param began: of an attempt that began just now, and is told once: the time ``at`` which, on
        which ``worker`` and ``node``
    """

    run: UUID
    stage: str
    worker: str | None = None
    items: int | None = None
    items_done: int = 0
    items_failed: int = 0
    attempts: int = 1
    waiting: str | None = None
    chunks: tuple[bytes, ...] = ()
    began: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Ask:
    """A question that the code of a stage has for the server.

    :param kind: names who answers, see :attr:`flowdapt.engine.Engine.answers`
    :param item: the element that is computed, in a mapped call
    :param about: what it is about, as JSON text
    """

    kind: str
    run: UUID
    stage: str
    item: int | None
    attempt: int
    about: bytes


@dataclass(frozen=True, slots=True)
class Host:
    """What an executor is told of the server it belongs to.

    :param app_dir: a folder for its files
    :param places: where objects are; results that are large may lie there, too
    :param snapshots: the source of user modules, as runs began with it
    :param on_progress: to be called, in the event loop, when a call moves on; may be frequent
    :param on_log: to be called, in the event loop, with lines that a stage wrote
    :param on_item: to be called, in the event loop, with each item that the generator of a final
        call yields: run, stage, the item's number, and it as JSON text. From 0 on and in order;
        what comes again from 0 on is of another attempt.
    :param on_ask: to be awaited, in the event loop, for the answer to a question, as JSON text;
        what it raises is raised where it was asked. It is cancelled when nobody waits for the
        answer any more, but not when who waited is lost and will ask again.
    :param log_level: of the records of the logging module that are captured
    """

    app_dir: Path
    places: Places | None = None
    snapshots: Snapshots = field(default_factory=Snapshots)
    on_progress: Callable[[Progress], None] = lambda _: None
    on_log: Callable[[UUID, LogBlock], None] = lambda _run, _block: None
    on_item: Callable[[UUID, str, int, bytes], None] = lambda *_: None
    on_ask: Callable[[Ask], Awaitable[bytes]] | None = None
    log_level: int = 20


@dataclass(frozen=True, slots=True)
class Node:
    """A machine, or a part of one, on which calls are computed.

    :param resources: amounts in all; ``free`` is what of them no call has
    :param workers: processes that compute there now
    :param plugin_set: the plugins there; empty stands for those of the server
    :param problem: why nothing is computed there, such as another version of flowdapt
    """

    name: str
    alive: bool
    resources: Mapping[str, float]
    free: Mapping[str, float]
    workers: int
    plugin_set: str = ""
    problem: str = ""


class Executor(ABC):
    """Computes stages.

    :param options: the keys beside ``target`` in the settings
    """

    kind: ClassVar[str]  #: what stages see as ``context.executor``
    memory: ClassVar[str] = "shm"  #: what its stages share objects through, unless it is set

    @abstractmethod
    async def start(self, host: Host) -> None:
        """Get ready to take calls."""

    @abstractmethod
    async def stop(self) -> None:
        """End everything that was started. Harmless when not started."""

    @abstractmethod
    def submit(self, call: Call) -> Handle:
        """Have a call computed; a :class:`MapCall` once for each element.

        :raises NeverFits: it asks for resources that the executor will never have
        """

    def restore(self, stored: bytes) -> Ref:
        """Return a reference to a result that an outcome of an earlier server had as ``stored``.

        :raises ValueError: it cannot be understood, such as after an upgrade
        """
        raise ValueError(f"{type(self).__name__} has stored no such result: {stored[:20]!r}")

    @abstractmethod
    async def fetch(self, ref: Ref) -> Any:
        """Return the value behind a reference, as the stage returned it."""

    @abstractmethod
    async def lookup(self, targets: Sequence[str], *, code: str) -> Mapping[str, StageError]:
        """Import targets where stages are computed; return what is wrong, by target."""

    @abstractmethod
    async def cancel(self, run: UUID, stage: str | None = None) -> None:
        """Stop what is computed for a run; nothing of it starts afterwards.

        :param stage: stop only the calls of this stage
        """

    @abstractmethod
    async def release(self, run: UUID) -> None:
        """Forget a run that has ended: its references are not used any more."""

    @abstractmethod
    async def nodes(self) -> Sequence[Node]:
        """Return where calls are computed, and what is free there."""

    async def prepare(self, plugins: str, wheels: Path) -> Mapping[str, str]:
        """Have a set of plugins ready wherever stages are computed beside this machine.

        Calls whose ``code`` has the set may come at once, and at nodes that join later.

        :param plugins: the set, as :class:`flowdapt.snapshots.Plugins` has it
        :param wheels: the folder with its wheels
        :return: what is wrong, by node; empty texts for those that are ready
        """
        del plugins, wheels  # where there is no other machine
        return {}

    async def verify(self, plugins: str) -> Mapping[str, str]:
        """Do what :meth:`prepare` does, but only look."""
        del plugins
        return {}

    def describe(self) -> dict[str, Any]:
        """Return facts for the server's status."""
        return {}
