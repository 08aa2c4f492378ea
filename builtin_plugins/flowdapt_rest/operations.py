"""Routes that say what goes in and what comes out: they are served and described from one place."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from flowdapt_rest.roles import Role, role_by_method
from flowdapt_rest.versions import VERSIONS, Schema, negotiate

_T = TypeVar("_T")


class Query(Generic[_T]):
    """A value of the query.

    :param read: one of the functions of :mod:`flowdapt_rest.query`
    :param options: what ``read`` takes, such as ``default``
    """

    def __init__(self, name: str, read: Callable[..., _T], about: str, **options: Any) -> None:
        self.name, self.read, self.about, self.options = name, read, about, options

    def of(self, request: Request) -> _T:
        """Return the value that a request has.

        :raises MalformedQuery: it is not of its type
        """
        return self.read(request, self.name, **self.options)


class Operation(Route):
    """A route with one method.

    :param call: method and path, such as ``GET /workflows/``
    :param name: the operation's id, which clients that are generated name their functions by
    :param reply: the type of a reply's JSON, from the version of the schema
    :param kind: what clients name the version of; without one the reply has no versions
    :param versions: which there are; the first is for clients that name none
    :param body: the type of the request's JSON
    :param body_type: the media type of a body that is no JSON
    :param optional: whether the body may be left out
    :param media_type: of replies that are no JSON
    :param role: what a caller needs to have; absent, reading needs ``read`` and all else ``admin``
    :param stream: the type of the JSON that messages carry, where a stream can be had as well
    :param items: whether the items of a run can be had as a stream
    :param if_match: whether the client can say which generation it means to change
    :param idempotent: whether the client can say that a request is one that it has sent before
    :param refusals: statuses beside those that follow from the rest
    :param own_tokens: whether a token that is none of ours is for the endpoint, which knows its
        callers itself; anybody may call it then
    """

    def __init__(
        self,
        call: str,
        endpoint: Callable[[Request], Awaitable[Response]],
        *,
        name: str,
        reply: Callable[[str], Any],
        kind: str | None = None,
        versions: Sequence[str] = VERSIONS,
        query: Sequence[Query[Any]] = (),
        body: Any = None,
        body_type: str = "application/json",
        optional: bool = False,
        media_type: str = "application/json",
        role: Role | None = None,
        stream: Any = None,
        items: bool = False,
        if_match: bool = False,
        idempotent: bool = False,
        refusals: Sequence[int] = (),
        own_tokens: bool = False,
    ) -> None:
        self.method, path = call.split()
        super().__init__(path, endpoint, methods=[self.method], name=name)
        self.reply, self.kind, self.versions, self.query = reply, kind, versions, query
        self.body, self.body_type, self.optional = body, body_type, optional
        self.media_type = media_type
        self.role, self.refusals = role or role_by_method(self.method), refusals
        self.stream, self.if_match, self.idempotent = stream, if_match, idempotent
        self.items = items
        self.own_tokens = own_tokens


def negotiated(request: Request) -> Schema:
    """Return the schema in which an operation answers a request.

    :raises VersionRefused: the client names a version that the operation does not have
    """
    operation: Operation = request.scope["route"]
    assert operation.kind is not None  # noqa: S101 - or there is nothing to negotiate
    return negotiate(request, operation.kind, offered=operation.versions)
