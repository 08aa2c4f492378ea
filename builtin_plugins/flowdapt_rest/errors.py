"""The one place where errors become status codes, and the only replies to errors there are."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from flowdapt import errors as domain
from flowdapt_rest.access import Forbidden, Unauthorized
from flowdapt_rest.bodies import (
    BodyTooLarge,
    BodyTooSlow,
    MalformedBody,
    MalformedHeader,
)
from flowdapt_rest.idempotency import KeyTaken
from flowdapt_rest.query import MalformedQuery
from flowdapt_rest.retries import NothingToRetry, RunNotEnded
from flowdapt_rest.revisions import NoRevision
from flowdapt_rest.run_details import NoStoredResult
from flowdapt_rest.shapes import Refusal
from flowdapt_rest.versions import VersionRefused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger(__name__)

#: An error has the status of the nearest class that it is derived from.
STATUS: Mapping[type[BaseException], int] = {
    BaseException: 500,
    domain.FlowdaptError: 500,
    domain.ResourceError: 400,
    domain.ResourceNotFound: 404,
    domain.ResourceChanged: 409,
    domain.UnlawfulTransition: 409,
    domain.Conflict: 409,
    domain.StageError: 400,
    domain.Draining: 503,
    domain.StorageError: 503,
    domain.ServerError: 503,
    NoRevision: 404,
    NoStoredResult: 404,
    VersionRefused: 400,
    MalformedBody: 400,
    MalformedHeader: 400,
    MalformedQuery: 422,
    KeyTaken: 422,
    RunNotEnded: 409,
    NothingToRetry: 409,
    BodyTooLarge: 413,
    BodyTooSlow: 408,
    Unauthorized: 401,
    Forbidden: 403,
    ClientDisconnect: 400,  # nobody reads it
}


class Unforeseen:
    """Answers requests that fail by a fault of ours.

    Starlette does so outside of all middleware, where replies lack the headers of CORS.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def noting(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, receive, noting)
        except Exception as error:
            if scope["type"] != "http" or started:
                raise
            response = await on_error(Request(scope), error)
            await response(scope, receive, send)


async def on_error(request: Request, error: Exception) -> Response:
    """Answer a request that was refused, or that failed."""
    if isinstance(error, HTTPException):
        return _of_router(request, error)
    status = next(STATUS[c] for c in type(error).__mro__ if c in STATUS)
    deliberate = isinstance(error, domain.FlowdaptError | ClientDisconnect)
    if not deliberate:
        logger.error("%s %s failed", request.method, request.scope["path"], exc_info=error)
    if deliberate:
        detail = str(error)
    elif request.app.state.dev:
        detail = f"{type(error).__name__}: {error}"
    else:
        detail = "Internal Server Error"
    errors, headers = getattr(error, "errors", None), getattr(error, "headers", None)
    return reply(status, detail, **({"errors": errors, "headers": headers} if deliberate else {}))


def _of_router(request: Request, error: HTTPException) -> Response:
    method, path, headers = request.method, request.scope["path"], dict(error.headers or {})
    detail = error.detail
    if error.status_code == 404:  # noqa: PLR2004 - what the router raises where no path fits
        detail = f"there is nothing at {path}"
    if error.status_code == 405:  # noqa: PLR2004 - and here no method
        headers["Allow"] = ", ".join(_allowed(request))
        detail = f"{method} is not possible at {path}; possible are {headers['Allow']}"
    return reply(error.status_code, detail, headers=headers)


def _allowed(request: Request) -> list[str]:
    """Return the methods of all routes with the path, of which the router names the first's."""
    path = request.scope["route"].path
    routes = [r for r in request.app.routes if isinstance(r, Route) and r.path == path]
    return sorted({method for route in routes for method in route.methods or ()})


def reply(
    status: int, detail: str, *, errors: Any = None, headers: Mapping[str, str] | None = None
) -> Response:
    """Return an error as every client understands it.

    :param errors: faults of single fields, each with ``loc``, ``msg`` and ``type``
    """
    # Clients read `status_code` from the body, and show `detail` only where it is a text. The keys
    # `status` and `headers` would overwrite what the TypeScript client puts beside the body.
    body: Refusal = {"detail": detail, "status_code": status}
    if errors:
        body["errors"] = errors
    return Response(
        orjson.dumps(body, default=str), status, headers=headers, media_type="application/json"
    )
