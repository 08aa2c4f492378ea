"""One run of a workflow: what is kept of it, its states, and which state may follow which."""

from __future__ import annotations

import random
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from pydantic import Field

from flowdapt.errors import InvalidInput, UnlawfulTransition
from flowdapt.resources import Model, Timestamp, now, timestamp

_FIRST = (
    "amber brisk calm clear coral crisp dapper early fair fleet gentle golden hazel ivory jolly "
    "keen lively lucid mellow nimble opal polar quiet rapid silver sunny swift tidal vivid warm"
)
_SECOND = (
    "badger bison crane dolphin eagle falcon finch fox gecko heron ibis jackal kestrel lark lynx "
    "marten newt orca otter owl panda puffin quail raven robin seal stork swan tern wren"
)


def run_name() -> str:
    """Return a fresh name: two words and 8 hex digits, such as ``amber-otter-1f3c9a02``."""
    words = random.choice(_FIRST.split()), random.choice(_SECOND.split())  # noqa: S311 - a name
    return "-".join((*words, f"{random.getrandbits(32):08x}"))


class RunState(StrEnum):
    """Where a run or a stage stands; all but the first two are final."""

    PENDING = "pending"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"  #: only of stages, whose condition did not hold

    @property
    def final(self) -> bool:
        """Whether nothing follows."""
        return not _FOLLOWS[self]


_FOLLOWS: dict[RunState, frozenset[RunState]] = {
    RunState.PENDING: frozenset({RunState.RUNNING, RunState.FAILED, RunState.CANCELLED}),
    RunState.RUNNING: frozenset({RunState.FINISHED, RunState.FAILED, RunState.CANCELLED}),
    RunState.FINISHED: frozenset(),
    RunState.FAILED: frozenset(),
    RunState.CANCELLED: frozenset(),
    RunState.SKIPPED: frozenset(),
}


class Failure(Model):
    """Why a run, a stage or an item failed, as text that outlives the process it happened in."""

    type: str = Field(description="The exception's class name.")
    message: str
    traceback: str = Field("", description="Of the process where it happened, as Python prints it.")
    stage: str | None = None
    item: int | None = Field(None, description="Index of the element that was being computed.")


class FailedItem(NamedTuple):
    """What is kept of each element that failed; of the first few there is a :class:`Failure`."""

    item: int
    type: str
    message: str
    attempts: int = 1


class Selection(Model):
    """Elements of a parameterized stage that are to be computed again.

    :ivar of: how many elements the stage had, so that another list is noticed
    """

    of: int
    items: tuple[int, ...]


class Run(Model):
    """One run of a workflow.

    The result is kept beside it, as JSON text, because it may be large: see
    :meth:`flowdapt.storage.Storage.result`.
    """

    uid: UUID = Field(default_factory=uuid4)
    name: str = Field(default_factory=run_name)
    workflow: str = Field(description="The workflow's name at the time.")
    workflow_uid: UUID | None = None
    namespace: str = "default"
    source: str | None = Field(None, description="`api`, `trigger` or `manual`.")
    input: dict[str, Any] = Field(default_factory=dict)
    config: dict[str, Any] = Field(default_factory=dict, description="As merged at its start.")
    code: str = Field("", description="Names the source of user modules that the run began with.")
    plugin_set: str = Field("", description="Names the plugins that go with that, if any.")
    state: RunState = RunState.PENDING
    started_at: Timestamp = Field(default_factory=now, description="When the run was accepted.")
    finished_at: Timestamp | None = None
    failure: Failure | None = None
    definition: str = Field("", description="Names the workflow as the run began with it.")
    resumed: int = Field(0, description="How often a server went on with it that was started anew.")
    retry_of: UUID | None = Field(None, description="The run that this one repeats.")
    parent: UUID | None = Field(None, description="The run of which a stage started this one.")
    only: dict[str, Selection] = Field(
        default_factory=dict, exclude=True, description="What stages compute, if not everything."
    )

    def to(self, state: RunState, *, failure: Failure | None = None) -> Run:
        """Return the run in its next state.

        :raises UnlawfulTransition: ``state`` may not follow the present one
        """
        if state not in _FOLLOWS[self.state]:
            raise UnlawfulTransition(self.name, self.state, state)
        ended = max(now(), self.started_at) if state.final else None  # clocks are set back, too
        change = {"state": state, "failure": failure, "finished_at": ended}
        return self.model_copy(update=change)


class StageRecord(Model):
    """How one stage of a run went."""

    stage: str
    state: RunState = RunState.RUNNING
    started_at: Timestamp = Field(default_factory=now)
    finished_at: Timestamp | None = None
    attempts: int = 1
    worker: str | None = Field(None, description="Who computed it last, such as a process id.")
    waiting: str | None = Field(None, description="For what it waits, if that is not there.")
    items: int | None = Field(None, description="Elements of a parameterized stage.")
    items_done: int = Field(0, description="Elements that were computed, failed ones included.")
    items_failed: int = 0
    failures: tuple[Failure, ...] = Field((), description="Of elements, the first few.")
    failed_items: tuple[FailedItem, ...] = Field((), exclude=True)
    elements: bytes | None = Field(None, exclude=True, description="See an executor's `Outcome`.")
    failure: Failure | None = None
    cpu_seconds: float | None = Field(None, description="Of all attempts, where that is known.")
    used: dict[str, float] = Field(default_factory=dict, description="More amounts, named by unit.")
    history: tuple[dict[str, Any], ...] = Field((), description="When attempts began, and where.")
    result_bytes: int | None = Field(None, description="The size of what it hands on, if known.")
    result: bytes | None = Field(
        None, exclude=True, description="The pickled result where it is small; for resuming."
    )

    def facts(self) -> dict[str, Any]:
        """Return what events tell of the stage: what is short, and not what it used."""
        ended = self.finished_at and timestamp(self.finished_at)
        times = {"started_at": timestamp(self.started_at), "finished_at": ended}
        return {k: v for k, v in self.__dict__.items() if k not in _NOT_TOLD} | times


_NOT_TOLD = ("result", "failures", "failed_items", "elements", "history", "used")


def named_values(given: object) -> dict[str, Any]:
    """Return the input of a run, which is empty where nothing was given.

    :raises InvalidInput: it is no object of named values
    """
    right = "input must be an object of named values"
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise InvalidInput(f"{right}, not a {type(given).__name__}")
    for key in given:
        if not isinstance(key, str):
            raise InvalidInput(f"{right}, and the name {key!r} is no text")
    return dict(given)
