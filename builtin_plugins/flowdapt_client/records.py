"""What a server answers, as frozen models; the kernel's own where it has one."""

from __future__ import annotations

from typing import Any, Generic, Literal, TypeVar
from uuid import UUID

from pydantic import ConfigDict, Field

from flowdapt import runs
from flowdapt.resources import Model, Resource, Timestamp

_M = TypeVar("_M", bound=Model)
_R = TypeVar("_R", bound=Resource)

Change = Literal["created", "changed", "deleted"]
Verdict = Literal["created", "changed", "unchanged"]


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
