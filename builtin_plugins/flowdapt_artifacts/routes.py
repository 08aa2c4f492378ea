"""Routes over artifacts: which there are, their files, and that they go."""

from __future__ import annotations

import asyncio
import heapq
import json
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote, unquote

import orjson
from pydantic import WithJsonSchema
from typing_extensions import TypedDict  # pydantic reads no other before Python 3.12

from flowdapt.objects import attached
from flowdapt.resources import WIRE_TIME, timestamp
from flowdapt_artifacts.configured import Configured
from flowdapt_artifacts.places import Root
from flowdapt_artifacts.shown import KIND, ArtifactFacts, FileFacts, Shown

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from flowdapt.objects import Entry
    from flowdapt.server import Server
    from flowdapt_artifacts.store import Store

OURS = "flowdapt_artifacts.store:Store"
LISTED, MOST = 100, 1000  #: artifacts in one reply, where the client says nothing, and at most
BYTES = "application/octet-stream"
ONE = "/artifacts/{namespace}/{artifact}"
FILE = f"{ONE}/files/{{file}}"

Moment = Annotated[str, WithJsonSchema(WIRE_TIME)]


def routes(server: Server) -> list[Any]:
    """Return the routes over the artifacts of a server; none where another plugin keeps them."""
    address = server.places.artifacts
    if address is None or address.target != OURS:
        return []
    at = Configured(**json.loads(address.options))
    shown = Shown(Root.at(at.protocol, at.base_path, at.parameters))
    http = server.plugins.resolve("exports", "http")
    return ArtifactRoutes(attached(address), shown, http).routes()


# What goes over the wire ---------------------------------------------------------------------


class ArtifactEntry(TypedDict):
    """An artifact in a list; ``size`` in bytes."""

    namespace: str
    name: str
    size: int
    type: str
    saved: Moment | None


class ArtifactPage(TypedDict):
    """A part of a list of artifacts, and the `after` to go on with, if there are more."""

    artifacts: list[ArtifactEntry]
    next: str | None


class ArtifactInfo(ArtifactEntry):
    """What is known of one version of an artifact.

    :ivar uri: the folder with its files
    :ivar type: of the value, where it was saved as one
    :ivar version: 0 of what an earlier release wrote
    :ivar versions: the numbers of those that can be read, the newest last
    """

    uri: str
    version: int
    versions: list[int]
    metadata: dict[str, Any]
    files: list[FileFacts]


class ArtifactName(TypedDict):
    """Which artifact is meant."""

    namespace: str
    name: str


# The routes ----------------------------------------------------------------------------------


class ArtifactRoutes:
    """What can be done with artifacts and their files.

    :param http: what routes are made of
    """

    def __init__(self, store: Store, shown: Shown, http: Any) -> None:
        self._store, self._shown, self._http = store, shown, http
        text, limit = http.query.text, http.query.limit
        most = f"At most so many; never more than {MOST}."
        self._namespace = http.Query("namespace", text, "Only those in this namespace.")
        self._prefix = http.Query("prefix", text, "Only those whose names begin with this.")
        self._limit = http.Query("limit", limit, most, default=LISTED, most=MOST)
        self._after = http.Query("after", text, "The `next` of an earlier reply.")
        about = "Which version; absent, the newest."
        self._version = http.Query("version", http.query.position, about)

    def routes(self) -> list[Any]:
        """Return the routes."""
        http = self._http
        ours = partial(http.Operation, kind=KIND, versions=[http.V1])
        info, name = http.always(ArtifactInfo), http.always(ArtifactName)
        choice = [self._namespace, self._prefix, self._limit, self._after]
        return [
            ours(
                "GET /artifacts",
                self.list,
                name="list_artifacts",
                reply=http.always(ArtifactPage),
                query=choice,
            ),
            ours(f"GET {ONE}", self.get, name="get_artifact", reply=info, query=[self._version]),
            ours(
                f"DELETE {ONE}",
                self.delete,
                name="delete_artifact",
                reply=name,
                role=http.Role.OPERATE,
            ),
            http.Operation(
                f"GET {FILE}",
                self.read,
                name="get_artifact_file",
                reply=http.always(bytes),
                media_type=BYTES,
                query=[self._version],
            ),
            # For administrators: stages unpickle what they load, so whoever writes it runs code.
            ours(
                f"PUT {FILE}",
                self.write,
                name="put_artifact_file",
                reply=info,
                body=bytes,
                body_type=BYTES,
                optional=True,  # a file may be empty
                role=http.Role.ADMIN,
            ),
        ]

    async def list(self, request: Request) -> Response:
        """Return which artifacts there are, ordered by namespace and name."""
        schema = self._http.negotiated(request)
        limit, after = self._limit.of(request), _position(self._after.of(request))
        prefix = self._prefix.of(request) or ""
        namespace = self._namespace.of(request) or None

        def first() -> list[Entry]:
            try:
                found = [*self._store.list(namespace)]
            except ValueError:  # the namespace is no name, and so empty
                return []
            behind = (e for e in found if e.key.startswith(prefix) and _at(e) > after)
            return heapq.nsmallest(limit + 1, behind, key=_at)

        found = await asyncio.to_thread(first)
        following = _cursor(found[limit - 1]) if len(found) > limit else None
        shown = [_entry(entry) for entry in found[:limit]]
        page = ArtifactPage(artifacts=shown, next=following)
        response: Response = schema.reply(orjson.dumps(page))
        return response

    async def get(self, request: Request) -> Response:
        """Return what is known of an artifact: its files, its metadata, its versions."""
        schema = self._http.negotiated(request)
        work = partial(self._shown.facts, *_names(request), self._version.of(request))
        found = await asyncio.to_thread(work)
        response: Response = schema.reply(orjson.dumps(_info(found)))
        return response

    async def delete(self, request: Request) -> Response:
        """Remove an artifact with all its versions."""
        schema = self._http.negotiated(request)
        namespace, name = _names(request)
        await asyncio.to_thread(self._shown.delete, namespace, name)
        gone = ArtifactName(namespace=namespace, name=name)
        response: Response = schema.reply(orjson.dumps(gone))
        return response

    async def read(self, request: Request) -> Response:
        """Return what is in a file of an artifact."""
        file, version = request.path_params["file"], self._version.of(request)
        work = partial(self._shown.read, *_names(request), file, version)
        content = await asyncio.to_thread(work)
        response: Response = self._http.Response(content, media_type=BYTES)
        return response

    async def write(self, request: Request) -> Response:
        """Make a new version of an artifact, in which a file has this content.

        The artifact is made where there is none. Stages may unpickle what is in it.
        """
        schema = self._http.negotiated(request)
        content = await request.app.state.bodies.read(request)
        work = partial(self._shown.write, *_names(request), request.path_params["file"], content)
        found = await asyncio.to_thread(work)
        response: Response = schema.reply(orjson.dumps(_info(found)))
        return response


def _names(request: Request) -> tuple[str, str]:
    return request.path_params["namespace"], request.path_params["artifact"]


def _entry(entry: Entry) -> ArtifactEntry:
    return {
        "namespace": entry.namespace,
        "name": entry.key,
        "size": entry.size,
        "type": entry.type,
        "saved": _moment(entry.created),
    }


def _info(facts: ArtifactFacts) -> ArtifactInfo:
    return {**facts, "saved": _moment(facts["saved"])}


def _moment(seconds: float) -> str | None:
    """Return a time that is given in seconds since 1970, as it goes over the wire."""
    return timestamp(datetime.fromtimestamp(seconds, UTC)) if seconds else None


def _at(entry: Entry) -> tuple[str, ...]:
    return entry.namespace, entry.key


def _cursor(entry: Entry) -> str:
    return "/".join(quote(part, safe="") for part in _at(entry))


def _position(cursor: str | None) -> tuple[str, ...]:
    return tuple(unquote(part) for part in cursor.split("/")) if cursor else ()
