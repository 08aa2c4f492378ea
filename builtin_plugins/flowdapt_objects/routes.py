"""Routes over objects: which there are, how large they are, and that they go. No value is sent."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote, unquote

import orjson
from pydantic import WithJsonSchema
from typing_extensions import TypedDict  # pydantic reads no other before Python 3.12

from flowdapt.resources import WIRE_TIME, timestamp
from flowdapt_objects.stock import KIND, Place, Position, Stock, position

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.requests import Request
    from starlette.responses import Response

    from flowdapt.objects import Entry
    from flowdapt.server import Server

LISTED, MOST = 100, 1000  #: objects in one reply, where the client says nothing, and at most
ONE = "/objects/{namespace}/{key:path}"  # a key may have slashes

Moment = Annotated[str, WithJsonSchema(WIRE_TIME)]


def routes(server: Server) -> list[Any]:
    """Return the routes over the objects of a server."""
    return ObjectRoutes(Stock(server), server.plugins.resolve("exports", "http")).routes()


# What goes over the wire ---------------------------------------------------------------------


class ObjectEntry(TypedDict):
    """What is known of an object in one place.

    :ivar place: ``disk`` is where the memory had no room for it
    :ivar size: bytes
    :ivar type: of the value, such as ``numpy.ndarray``; empty where it is not known
    """

    namespace: str
    key: str
    place: Place
    size: int
    type: str
    created: Moment | None
    expires: Moment | None


class ObjectPage(TypedDict):
    """A part of a list of objects, and the `after` to go on with, if there are more."""

    objects: list[ObjectEntry]
    next: str | None


class NamespaceSum(TypedDict):
    """What the objects of a namespace come to; ``memory``, ``disk`` and ``artifact`` in bytes."""

    namespace: str
    objects: int
    memory: int
    disk: int
    artifact: int


class ObjectStats(TypedDict):
    """How full the memory is, in bytes, and what the objects of each namespace come to.

    What a memory does not know of itself is null.

    :ivar used: what runs hold for themselves included
    :ivar free: the part of ``used`` that is ready to be written again
    :ivar on_disk: what the memory had no room for
    :ivar objects: how many the memory keeps, results of runs included
    """

    capacity: int | None
    used: int | None
    free: int | None
    on_disk: int | None
    objects: int | None
    namespaces: list[NamespaceSum]


# The routes ----------------------------------------------------------------------------------


class ObjectRoutes:
    """What can be done with objects without their values.

    :param http: what routes are made of
    """

    def __init__(self, stock: Stock, http: Any) -> None:
        self._stock, self._http = stock, http
        text, limit = http.query.text, http.query.limit
        most = f"At most so many; never more than {MOST}."
        self._namespace = http.Query("namespace", text, "Only those in this namespace.")
        self._prefix = http.Query("prefix", text, "Only those whose keys begin with this.")
        self._places = http.Query("place", http.query.words, "Only those there.", known=Place)
        self._limit = http.Query("limit", limit, most, default=LISTED, most=MOST)
        self._after = http.Query("after", text, "The `next` of an earlier reply.")

    def routes(self) -> list[Any]:
        """Return the routes."""
        http = self._http
        ours = partial(http.Operation, kind=KIND, versions=[http.V1])
        choice = [self._namespace, self._prefix, self._places, self._limit, self._after]
        shown = http.always(list[ObjectEntry])
        return [
            ours(
                "GET /objects",
                self.list,
                name="list_objects",
                reply=http.always(ObjectPage),
                query=choice,
            ),
            ours(
                "GET /objects/stats",
                self.stats,
                name="get_object_stats",
                reply=http.always(ObjectStats),
            ),
            ours(f"GET {ONE}", self.get, name="get_object", reply=shown),
            ours(
                f"DELETE {ONE}",
                self.delete,
                name="delete_object",
                reply=shown,
                role=http.Role.OPERATE,
            ),
        ]

    async def list(self, request: Request) -> Response:
        """Return which objects there are, ordered by namespace, key and place.

        One that is in the memory and an artifact, too, is there twice.
        """
        schema = self._http.negotiated(request)
        limit = self._limit.of(request)
        found = await asyncio.to_thread(
            self._stock.list,
            self._namespace.of(request) or None,
            prefix=self._prefix.of(request) or "",
            places=self._places.of(request),
            after=_position(self._after.of(request)),
            limit=limit + 1,
        )
        following = _cursor(position(found[limit - 1])) if len(found) > limit else None
        page = ObjectPage(objects=_shown(found[:limit]), next=following)
        response: Response = schema.reply(orjson.dumps(page))
        return response

    async def get(self, request: Request) -> Response:
        """Return what is known of an object, for each place where it is."""
        schema = self._http.negotiated(request)
        found = await asyncio.to_thread(self._stock.find, *_name(request))
        response: Response = schema.reply(orjson.dumps(_shown(found)))
        return response

    async def delete(self, request: Request) -> Response:
        """Remove an object wherever it is, and return what was known of it."""
        schema = self._http.negotiated(request)
        found = await asyncio.to_thread(self._stock.delete, *_name(request))
        response: Response = schema.reply(orjson.dumps(_shown(found)))
        return response

    async def stats(self, request: Request) -> Response:
        """Return how full the memory is, and what the objects of each namespace come to."""
        schema = self._http.negotiated(request)
        stats = await asyncio.to_thread(self._stats)
        response: Response = schema.reply(orjson.dumps(stats))
        return response

    def _stats(self) -> ObjectStats:
        facts, sums = self._stock.facts(), self._stock.sums()
        namespaces = [
            NamespaceSum(
                namespace=namespace,
                objects=found.objects,
                memory=found.sizes[Place.MEMORY],
                disk=found.sizes[Place.DISK],
                artifact=found.sizes[Place.ARTIFACT],
            )
            for namespace, found in sums.items()
        ]
        return ObjectStats(
            capacity=facts.get("capacity"),
            used=facts.get("used"),
            free=facts.get("free"),
            on_disk=facts.get("on_disk"),
            objects=facts.get("objects"),
            namespaces=namespaces,
        )


def _name(request: Request) -> tuple[str, str]:
    return request.path_params["namespace"], request.path_params["key"]


def _shown(entries: Iterable[Entry]) -> list[ObjectEntry]:
    return [
        {
            "namespace": entry.namespace,
            "key": entry.key,
            "place": Place(entry.place),
            "size": entry.size,
            "type": entry.type,
            "created": _moment(entry.created or None),
            "expires": _moment(entry.expires),
        }
        for entry in entries
    ]


def _moment(seconds: float | None) -> str | None:
    """Return a time that is given in seconds since 1970, as it goes over the wire."""
    if seconds is None:
        return None
    try:
        return timestamp(datetime.fromtimestamp(seconds, UTC))
    except (ValueError, OverflowError):  # after the year 9999, and so as good as never
        return None


def _cursor(place: Position) -> str:
    """Return a position as a text from which :func:`_position` has it again."""
    return "/".join(quote(part, safe="") for part in place)


def _position(cursor: str | None) -> Position:
    """Return where a cursor leads; any text leads somewhere."""
    return tuple(unquote(part) for part in cursor.split("/")) if cursor else ()
