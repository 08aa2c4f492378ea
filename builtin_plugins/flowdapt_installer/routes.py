"""Routes over installed plugins: sets, nodes, wheels, and changes with their progress."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

import orjson
from pydantic import Field
from typing_extensions import TypedDict  # pydantic reads no other before Python 3.12

from flowdapt.resources import Model
from flowdapt_installer.asking import kept
from flowdapt_installer.records import Change, ChangeSpec, Records, StoredSet, shown

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from flowdapt.server import Server
    from flowdapt_installer.service import PluginSets

KIND = "plugin_set"
ALIVE_SECONDS = 15.0  #: of silence until a comment shows that the connection is alive
CONFLICT = 409


def routes(server: Server) -> list[Any]:
    """Return the routes over the plugin sets of a server; none where their service does not run."""
    service: Any = server.services.get("plugin_sets")
    if service is None:
        return []
    return PluginSetRoutes(service, server.plugins.resolve("exports", "http")).routes()


# What goes over the wire ---------------------------------------------------------------------


class SentWheel(TypedDict):
    """A wheel that was sent, and how it can be asked for."""

    name: str
    version: str
    sha256: str
    requirement: str


class Distribution(TypedDict):
    """A distribution of a set."""

    name: str
    version: str
    file: str
    sha256: str
    size: int


class ShownSet(TypedDict):
    """A set.

    :ivar namespaces: in which it is active; `*` stands for all that have no own one
    :ivar wanted: what was asked for by name, and as what; the rest is what that needs
    """

    id: str
    created_at: datetime
    namespaces: list[str]
    wanted: dict[str, str]
    distributions: list[Distribution]
    python: str


class NodeState(TypedDict):
    """What a node has of what is active; an empty problem stands for all of it."""

    node: str
    problem: str


class ShownChange(ChangeSpec):
    """How a change goes, or went."""

    id: str
    uid: UUID


class Asked(Model):
    """What is to be changed.

    :ivar names: requirements, `wheel:` and the hash of one that was sent, addresses of git; the
        names of what was installed; or the id of a set
    :ivar apply: also apply the resources that the plugins bring
    :ivar restart: the server, once what runs has ended
    """

    what: Literal["install", "upgrade", "remove", "rollback"]
    names: tuple[str, ...] = Field((), max_length=1000)
    namespace: str = Field("", pattern=r"^[\w.-]*$", max_length=200)
    dry_run: bool = False
    apply: bool = False
    restart: bool = False


# The routes ----------------------------------------------------------------------------------


class PluginSetRoutes:
    """What can be done with plugin sets.

    :param http: what routes are made of
    """

    def __init__(self, service: PluginSets, http: Any) -> None:
        self._service, self._http = service, http
        about = "Of which namespace; absent, of all that have no own plugins."
        self._namespace = http.Query("namespace", http.query.text, about)

    def routes(self) -> list[Any]:
        """Return the routes."""
        http = self._http
        ours = partial(http.Operation, kind=KIND, versions=[http.V1])
        shown, one = http.always(ShownChange), "/plugin_changes/{identifier}"
        return [
            ours(
                "GET /plugin_sets",
                self.sets,
                name="list_plugin_sets",
                reply=http.always(list[ShownSet]),
            ),
            ours(
                "GET /plugin_nodes",
                self.nodes,
                name="list_plugin_nodes",
                reply=http.always(list[NodeState]),
                query=[self._namespace],
            ),
            ours(
                "PUT /plugin_wheels/{file}",
                self.send,
                name="send_plugin_wheel",
                reply=http.always(SentWheel),
                body=bytes,
                body_type="application/octet-stream",
            ),
            ours(
                "GET /plugin_changes",
                self.changes,
                name="list_plugin_changes",
                reply=http.always(list[ShownChange]),
            ),
            ours(
                "POST /plugin_changes",
                self.begin,
                name="change_plugins",
                reply=shown,
                body=Asked,
                refusals=[CONFLICT],
            ),
            ours(
                f"GET {one}", self.change, name="get_plugin_change", reply=shown, stream=ShownChange
            ),
        ]

    async def sets(self, request: Request) -> Response:
        """Return all sets, the oldest first, and where each is active."""
        return self._reply(request, await shown_sets(self._service.records))

    async def nodes(self, request: Request) -> Response:
        """Compare what each node has with what is active, file by file."""
        found = await self._service.nodes(self._namespace.of(request) or "")
        states = [NodeState(node=node, problem=said) for node, said in found.items()]
        return self._reply(request, states)

    async def send(self, request: Request) -> Response:
        """Keep a wheel, so that it can be installed."""
        content = await request.app.state.bodies.read(request)
        add, file = self._service.site.warehouse.add, str(request.path_params["file"])
        wheel = await asyncio.to_thread(add, content, file)
        facts = {"name": wheel.name, "version": wheel.version, "sha256": wheel.sha256}
        return self._reply(request, {**facts, "requirement": kept(wheel)})

    async def changes(self, request: Request) -> Response:
        """Return all changes, the oldest first."""
        found = await self._service.records.changes()
        return self._reply(request, [facts_of(change) for change in found])

    async def begin(self, request: Request) -> Response:
        """Begin a change of the plugins, and return it as it begins; it goes on by itself."""
        body = await request.app.state.bodies.read_object(request)
        asked = Asked.parse(body, where="request body", strict=True)
        change = await self._service.begin(
            asked.what,
            asked.names,
            namespace=asked.namespace,
            by=request.state.caller.name,
            dry_run=asked.dry_run,
            apply=asked.apply,
            restart=asked.restart,
        )
        return self._reply(request, facts_of(change))

    async def change(self, request: Request) -> Response:
        """Return how a change goes.

        As a stream, it goes on until the change has ended, with a message `change` whenever it
        moves on, and a last one, `end`, that holds it as it is stored.
        """
        schema, name = self._http.negotiated(request), str(request.path_params["identifier"])
        change = await self._service.get(name)
        if self._http.sse.asked_for(request):
            stream: Response = self._http.sse.EventStream(self._follow(name))
            return stream
        response: Response = schema.reply(orjson.dumps(facts_of(change)))
        return response

    async def _follow(self, name: str) -> AsyncGenerator[bytes, None]:
        message, stopping = self._http.sse.message, self._service.server.stopping
        sent = b""
        stop = asyncio.ensure_future(stopping.wait())
        with self._service.told() as moved:
            stop.add_done_callback(lambda _: moved.set())
            try:
                while not stop.done():
                    moved.clear()
                    change = await self._service.get(name)
                    facts = orjson.dumps(facts_of(change))
                    if change.spec.ended_at is not None:
                        yield message(facts, event="end")
                        return
                    if facts != sent:
                        yield message(facts, event="change")
                        sent = facts
                    try:
                        await asyncio.wait_for(moved.wait(), ALIVE_SECONDS)
                    except TimeoutError:
                        yield self._http.sse.ALIVE
            finally:
                stop.cancel()

    def _reply(self, request: Request, value: Any) -> Response:
        response: Response = self._http.negotiated(request).reply(orjson.dumps(value))
        return response


async def shown_sets(records: Records) -> list[dict[str, Any]]:
    """Return all sets as they go over the wire, the oldest first."""
    active: dict[str, list[str]] = {}
    for pointer in await records.all_active():
        active.setdefault(pointer.spec.active, []).append(pointer.spec.namespace or "*")
    return [_shown(one, active) for one in await records.sets()]


def facts_of(change: Change) -> dict[str, Any]:
    """Return a change as it goes over the wire."""
    data = change.spec.model_dump(mode="json")
    data["names"] = [shown(name) for name in data["names"]]
    return {"id": change.metadata.name, "uid": str(change.metadata.uid), **data}


def _shown(one: StoredSet, active: dict[str, list[str]]) -> dict[str, Any]:
    return {
        "id": one.metadata.name,
        "created_at": one.model_dump(mode="json")["metadata"]["created_at"],
        "namespaces": active.get(one.metadata.name, []),
        "wanted": {name: shown(wanted.source) for name, wanted in one.spec.wanted.items()},
        "distributions": one.spec.plugins["wheels"],
        "python": one.spec.python,
    }
