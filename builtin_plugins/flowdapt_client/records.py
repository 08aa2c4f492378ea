"""What a server answers, as frozen models; the kernel's own where it has one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, Literal, TypeVar
from uuid import UUID

from pydantic import ConfigDict, Field, ValidationError

from flowdapt import runs
from flowdapt.resources import Model, Resource, Timestamp
from flowdapt_client.errors import RunFailed, Unreadable

_M = TypeVar("_M", bound=Model)
_R = TypeVar("_R", bound=Resource)

Change = Literal["created", "changed", "deleted"]
Verdict = Literal["created", "changed", "unchanged"]


class Run(runs.Run):
    """One run of a workflow, with what came out."""

    result_bytes: int = Field(0, description="The size of the result, also where it is left out.")
    result: Any = Field(None, description="Left out of lists and events where it is large.")

    def value(self) -> Any:
        """Return the result.

        :raises RunFailed: there is none, because the run failed or was cancelled
        """
        if self.state in (runs.RunState.FAILED, runs.RunState.CANCELLED):
            why = self.failure or runs.Failure(type="RunCancelled", message="it was cancelled")
            raise RunFailed(self.name, self.state, why.type, why.message, why.traceback)
        return self.result


class ItemsFailure(Model):
    """Why a run has no result."""

    type: str
    message: str
    stage: str | None = None


class ItemsEnd(Model):
    """How a run ended whose items came as a stream."""

    state: runs.RunState
    uid: UUID
    name: str
    items: int
    error: ItemsFailure | None = None


class Event(Model):
    """Something that happened on a server.

    The types that flowdapt itself tells of are constants of :mod:`flowdapt.events`.
    """

    position: int | None = Field(None, description="Absent where it is not kept, as of progress.")
    id: UUID
    time: Timestamp
    type: str
    channel: str
    source: str
    headers: dict[str, str] = Field(default_factory=dict)
    subject: str | None = None
    data: Any = None


class LogLine(Model):
    """A line that a stage wrote."""

    model_config = ConfigDict(extra="allow")

    stage: str
    time: str | None = None
    stream: str | None = Field(None, description="`stdout` or `stderr`; absent for log records.")
    level: str | None = None
    logger: str | None = None
    message: str = ""
    item: int | None = Field(None, description="Index of the element that was being computed.")


class RunItem(Model):
    """An element of a parameterized stage, and what it raised if it failed."""

    stage: str
    item: int = Field(description="Its index in the first list that was mapped over.")
    state: str = Field("failed", description="`finished` or `failed`.")
    attempts: int = 1
    seconds: float | None = Field(
        None, description="Of the last attempt; absent if nobody saw that, as its worker died."
    )
    type: str = ""
    message: str = ""
    traceback: str = Field("", description="Kept of the first few that failed.")


class ItemSeconds(Model):
    """How long the elements of a stage took, each in its last attempt."""

    least: float
    median: float
    p95: float
    most: float


class ItemSummary(Model):
    """What the elements of a parameterized stage come to."""

    stage: str
    state: runs.RunState
    count: int = Field(description="As far as it is known yet.")
    done: int = Field(description="Those included that failed.")
    failed: int
    seconds: ItemSeconds | None = Field(None, description="Absent until the stage has ended.")


class Transition(Model):
    """A run, or a stage of it, became something else."""

    at: Timestamp
    stage: str | None = Field(None, description="Absent of the run itself.")
    state: str = Field(
        description="Of a stage also `ready`: no worker has it yet; of a run also `resumed`."
    )
    attempt: int | None = None
    worker: str | None = None
    node: str | None = Field(None, description="The machine of the worker.")
    plugin_set: str = ""


class RunHistory(Model):
    """What happened to a run, in the order of time."""

    run: UUID
    used: dict[str, float] = Field(
        default_factory=dict,
        description="What its stages used together, each named with its unit; of peaks the most.",
    )
    transitions: tuple[Transition, ...] = ()


class Applied(Model, Generic[_R]):
    """What applying a resource came to.

    :param before: as it was; absent where it is new
    """

    verdict: Verdict
    resource: _R
    before: _R | None = None


class Revision(Model, Generic[_R]):
    """A resource as it was after one change."""

    generation: int
    time: Timestamp
    actor: str | None = None
    change: Change
    resource: _R | None = None


class Secret(Model):
    """That there is a secret; its value is never told."""

    name: str
    created_at: Timestamp
    updated_at: Timestamp


class TriggerState(Model):
    """How a trigger stands; counts are from the start of its server on."""

    uid: UUID
    name: str
    type: str
    action: str
    paused: bool
    last: Timestamp | None = Field(None, description="When it fired last.")
    next: Timestamp | None = Field(None, description="When it is due next, where that is known.")
    fired: int
    failed: int
    missed: int
    problem: str = Field("", description="Why it cannot work, or what went wrong last.")


class Firing(Model):
    """What a trigger did at one time, or did not do."""

    time: Timestamp
    what: Literal["fired", "failed", "missed"]
    due: Timestamp
    run: UUID | None = None
    why: str = ""
    count: int | None = None


class TriggerDetail(TriggerState):
    """How a trigger stands, and what it did, the newest first."""

    firings: tuple[Firing, ...] = ()


class TriedFiring(Model):
    """What a trigger would have done."""

    time: str
    event: str | None = None
    type: str | None = None
    subject: str | None = None
    action: dict[str, Any]
    error: str = Field("", description="Why its rule could not be decided.")


class Trial(Model):
    """What trying a trigger came to.

    :param tried: events that were looked at
    :param more: whether there were more times, of which these are the last ones
    """

    tried: int
    firings: tuple[TriedFiring, ...]
    more: bool = False


class Backfilled(Model):
    """The run of a period; ``new`` if it began just now."""

    run: UUID
    name: str
    state: runs.RunState
    new: bool


class ObjectEntry(Model):
    """What is known of an object in one place."""

    namespace: str
    key: str
    place: str = Field(description="`memory`, `disk` for what it had no room for, or `artifact`.")
    size: int = Field(description="Bytes.")
    type: str = Field("", description="Of the value, such as `numpy.ndarray`, if known.")
    created: Timestamp | None = None
    expires: Timestamp | None = None


class NamespaceSum(Model):
    """What the objects of a namespace come to; sizes are in bytes, by place."""

    namespace: str
    objects: int
    memory: int = 0
    disk: int = 0
    artifact: int = 0


class ObjectStats(Model):
    """How full the memory is, in bytes; what it does not know of itself is absent."""

    capacity: int | None = None
    used: int | None = Field(None, description="What runs hold for themselves included.")
    free: int | None = Field(None, description="Part of `used`: ready to be written again.")
    on_disk: int | None = Field(None, description="What the memory had no room for.")
    objects: int | None = Field(None, description="In the memory, results of runs included.")
    namespaces: tuple[NamespaceSum, ...] = ()


class ArtifactEntry(Model):
    """An artifact in a list."""

    namespace: str
    name: str
    size: int = Field(description="Bytes.")
    type: str = Field("", description="Of the value, where it was saved as one.")
    saved: Timestamp | None = None


class ArtifactFile(Model):
    """A file of an artifact."""

    name: str
    size: int = Field(description="Bytes.")


class Artifact(ArtifactEntry):
    """What is known of one version of an artifact."""

    uri: str = Field(description="The folder with its files.")
    version: int = Field(description="0 of what an earlier release wrote.")
    versions: tuple[int, ...] = Field(description="Those that can be read, the newest last.")
    metadata: dict[str, Any]
    files: tuple[ArtifactFile, ...]


class AuditEntry(Model):
    """Who did what."""

    position: int
    time: Timestamp
    actor: str | None = None
    token: str | None = Field(None, description="Names the token; it is not the token itself.")
    method: str
    path: str
    operation: str | None = None
    status: int
    address: str | None = None


class Status(Model):
    """How a server stands."""

    model_config = ConfigDict(extra="allow")

    version: str
    name: str
    draining: bool
    system: dict[str, Any]
    os: dict[str, Any]
    python: str
    hostname: str
    services: dict[str, Any]
    database: str
    addresses: dict[str, str] = Field(default_factory=dict)


class Node(Model):
    """A machine, or a part of one, on which stages are computed."""

    name: str
    state: str = Field(description="`ready`, `unusable` or `lost`.")
    resources: dict[str, float] = Field(description="In all; `memory` in bytes.")
    free: dict[str, float] = Field(description="What of them no stage has.")
    workers: int
    plugin_set: str = Field("", description="Empty where it has the plugins of the server.")
    problem: str = Field("", description="Why nothing is computed there.")


class Gap(Model):
    """Events that somebody missed who was away for longer than a server keeps them.

    What happened between the two positions may lack some, and those may have been of any kind.
    """

    after: int = Field(description="The position of the last event that came.")
    before: int = Field(description="The first one behind it of which none is missing.")


class EventPage(Model):
    """Some events, and where to go on."""

    events: tuple[Event, ...]
    next: int


class RunPage(Model):
    """Some runs, and where to go on."""

    runs: tuple[Run, ...]
    next: str | None = None


class ItemPage(Model):
    """Some items, and where to go on."""

    items: tuple[RunItem, ...]
    next: int | None = None


class LogBlock(Model):
    """Lines that one process wrote for one stage."""

    position: int
    stage: str
    lines: tuple[Mapping[str, Any], ...]

    def each(self) -> list[LogLine]:
        """Return the lines with what they have in common."""
        return [read(LogLine, {"stage": self.stage, **line}) for line in self.lines]


class LogPage(Model):
    """Some of a log, and where to go on."""

    blocks: tuple[LogBlock, ...]
    next: int


class ObjectPage(Model):
    """Some objects, and where to go on."""

    objects: tuple[ObjectEntry, ...]
    next: str | None = None


class ArtifactPage(Model):
    """Some artifacts, and where to go on."""

    artifacts: tuple[ArtifactEntry, ...]
    next: str | None = None


class AuditPage(Model):
    """Some of what was done, and where to go on."""

    entries: tuple[AuditEntry, ...]
    next: int


def read(shape: type[_M], answer: object) -> _M:
    """Return an answer as what it should be.

    :raises Unreadable: it is something else
    """
    try:
        return shape.model_validate(answer)
    except ValidationError as error:
        raise _unreadable(shape, error) from None


def read_text(shape: type[_M], text: str) -> _M:
    """Return JSON text as what it should be.

    :raises Unreadable: it is something else
    """
    try:
        return shape.model_validate_json(text)
    except ValidationError as error:
        raise _unreadable(shape, error) from None


def read_list(shape: type[_M], answer: object) -> list[_M]:
    """Return an answer as a list of what it should be.

    :raises Unreadable: it is something else
    """
    if not isinstance(answer, list):
        raise Unreadable(f"the server answers {answer!r:.80}, where this client reads a list")
    return [read(shape, one) for one in answer]


def _unreadable(shape: type[Model], error: ValidationError) -> Unreadable:
    fault = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(map(str, fault["loc"])) or "all of it"
    return Unreadable(
        f"the server answers what this client cannot read as {shape.__name__}: "
        f"{where}: {fault['msg']}; are both of the same version?"
    )
