"""What goes over the wire, as types, for those who read about it: each view that `render` makes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Annotated, Any, Literal, NotRequired
from uuid import UUID

from pydantic import WithJsonSchema, create_model
from typing_extensions import TypedDict  # pydantic reads no other before Python 3.12

from flowdapt.resources import WIRE_TIME, Metadata, Model, Resource
from flowdapt_rest.versions import V1, V1ALPHA1

#: Published clients make up all of these; what they send is not even looked at.
GIVEN_BY_SERVER = frozenset({"uid", "created_at", "updated_at", "generation"})
SINCE_V1 = frozenset({"generation"})  #: of a resource's metadata; v1alpha1 does not have them

Moment = Annotated[str, WithJsonSchema(WIRE_TIME)]


# Errors --------------------------------------------------------------------------------------


class Fault(TypedDict):
    """What is wrong with one field."""

    loc: list[str | int]
    msg: str
    type: str


class Refusal(TypedDict):
    """Why a request was refused, or failed."""

    detail: str
    status_code: int
    errors: NotRequired[list[Fault]]


# Resources -----------------------------------------------------------------------------------


def resource(model: type[Resource], version: str) -> type[Model]:
    """Return what a reply shows of a resource."""
    return model if version == V1 else _with(model, _less(SINCE_V1, V1ALPHA1), V1ALPHA1)


def resources(model: type[Resource], version: str) -> Any:
    """Return what a list shows of resources."""
    shown: Any = resource(model, version)
    return list[shown]


def given(model: type[Resource]) -> type[Model]:
    """Return what a request says of a resource."""
    return _with(model, _less(GIVEN_BY_SERVER, "Given"), "Given")


@lru_cache  # one model for one shape, or the document would hold it several times
def _less(fields: frozenset[str], suffix: str) -> type[Model]:
    kept = {
        name: (field.annotation, field)
        for name, field in Metadata.model_fields.items()
        if name not in fields
    }
    made: type[Model] = create_model(  # type: ignore[call-overload]  # fields known at run time
        f"Metadata_{suffix}", __base__=Model, __doc__=Metadata.__doc__, **kept
    )
    return made


@lru_cache
def _with(model: type[Resource], metadata: type[Model], suffix: str) -> type[Model]:
    made: type[Model] = create_model(
        f"{model.__name__}_{suffix}",
        __base__=model,
        __doc__=model.__doc__,
        metadata=(metadata, ...),
    )
    return made


class Revision(TypedDict):
    """A resource as it became, and by whom; one that was deleted, as it was.

    :ivar actor: the name of a token; empty where nobody was asked for one
    """

    generation: int
    time: Moment
    actor: str
    change: Literal["created", "changed", "deleted"]
    resource: dict[str, Any]


# Events --------------------------------------------------------------------------------------


class EventV1(TypedDict):
    """Something that happened.

    :ivar position: in the log of what is kept; what only tells how things stand has none
    """

    position: NotRequired[int]
    id: UUID
    time: Moment
    type: str
    channel: str
    source: str
    subject: str
    headers: dict[str, str]
    correlation_id: str | None
    reply_channel: str | None
    trace_parent: str | None
    data: Any


class EventPage(TypedDict):
    """A part of the log of events, and the position to go on from.

    There are no more once ``next`` is the ``after`` that was asked for; a part may be empty before.
    """

    events: list[EventV1]
    next: int


# Plugins -------------------------------------------------------------------------------------


class PluginMetadata(TypedDict):
    """What a plugin's distribution says of itself."""

    description: str
    author: str
    license: str
    url: str
    version: str
    requirements: list[str]


class Plugin(TypedDict):
    """A plugin that is in use."""

    name: str
    metadata: PluginMetadata
    module: str


class PluginV1(Plugin):
    """A plugin, in use or not."""

    version: str
    state: str
    reason: str
    provides: Sequence[str]


class PluginFiles(TypedDict):
    """The names of a plugin's data files."""

    files: list[str]


def plugin(version: str) -> Any:
    """Return what a reply shows of a plugin."""
    return Plugin if version == V1ALPHA1 else PluginV1


def plugins(version: str) -> Any:
    """Return what a list shows of plugins."""
    return list[Plugin] if version == V1ALPHA1 else list[PluginV1]


# The server ----------------------------------------------------------------------------------


class Ping(TypedDict):
    """Who answers."""

    app: str
    version: str
    api_version: str


class Drain(TypedDict):
    """Whether no new runs are accepted."""

    draining: bool


class System(TypedDict):
    """What the server uses; memory and traffic in bytes."""

    time: str
    cpu_pct: float
    memory: int
    disk_pct: float
    network_io_sent: int
    network_io_recv: int
    threads: int
    fds: int
    pid: int


class Os(TypedDict):
    """What the server runs on."""

    name: str
    version: str
    release: str
    machine: str


class Status(TypedDict):
    """How the server stands."""

    version: str
    name: str
    system: System
    os: Os
    python: str
    hostname: str
    services: dict[str, dict[str, Any]]
    database: str


class StatusV1(Status):
    """How the server stands."""

    draining: bool
    addresses: dict[str, str]


class Node(TypedDict):
    """A machine, or a part of one, on which stages are computed.

    :ivar resources: amounts in all, ``memory`` in bytes; ``free`` is what of them no stage has
    :ivar plugin_set: empty where it has the plugins of the server
    :ivar problem: why nothing is computed there
    """

    name: str
    state: Literal["ready", "unusable", "lost"]
    resources: dict[str, float]
    free: dict[str, float]
    workers: int
    plugin_set: str
    problem: str


def status(version: str) -> Any:
    """Return what a reply shows of the server."""
    return Status if version == V1ALPHA1 else StatusV1


def always(shape: Any) -> Callable[[str], Any]:
    """Return what a reply shows that is the same in every version."""
    return lambda _: shape
