"""Routes over metrics: JSON with their history for clients, text with the present for scrapers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING

import orjson
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from flowdapt_metrics import prometheus
from flowdapt_metrics.history import Point
from flowdapt_metrics.service import MetricsService

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

    from flowdapt.server import Server

KIND = "metrics"
PIECE = 200  #: points that are made at once, in well under a millisecond
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def routes(server: Server) -> list[Route]:
    """Return the routes, none where the server counts nothing."""
    service = server.services.get("metrics")
    if not isinstance(service, MetricsService):
        return []
    found = MetricsRoutes(service)
    return [
        Route("/metrics", found.metrics, methods=["GET"], name="metrics"),
        Route("/metrics/prometheus", found.prometheus, methods=["GET"], name="prometheus_metrics"),
    ]


class MetricsRoutes:
    """What was counted and measured."""

    def __init__(self, service: MetricsService) -> None:
        self.service = service

    async def metrics(self, request: Request) -> Response:
        """Return the points of all metrics, or of the one that is named, newest first."""
        if "x-api-version" not in request.headers and wants_text(request.headers.get("accept", "")):
            return await self.prometheus(request)
        state, history = request.app.state, self.service.history
        schema = state.negotiate(request, KIND)
        name = state.query.text(request, "name")
        start = _nanoseconds(state.query.moment(request, "start_time"))
        end = _nanoseconds(state.query.moment(request, "end_time"))
        most = state.query.integer(request, "max_length", default=0)
        names = [*history.instruments] if name is None else [name]
        chosen = {
            name: history.points(
                name,
                start=0 if start is None else start,
                end=2**63 - 1 if end is None else end,
                most=most if most > 0 else None,
            )
            for name in names
        }
        response = Pieces(_pieces(chosen))
        response.raw_headers += schema.headers
        return response

    async def prometheus(self, request: Request) -> Response:
        """Return what there is to see at present."""
        del request
        text = prometheus.text(self.service.instruments)
        return Response(text, media_type=prometheus.MEDIA_TYPE)


class Pieces(StreamingResponse):
    """A reply that is sent piece by piece, and soon over."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the reply.

        Starlette's way of noticing that the client has gone loads a library on first use, for which
        everybody waits tens of milliseconds.
        """
        del scope, receive
        await self.stream_response(send)


def wants_text(accept: str) -> bool:
    """Tell whether an ``Accept`` header is that of a scraper: text, before any JSON."""
    for part in sorted(accept.lower().split(","), key=_quality, reverse=True):
        media_type = part.partition(";")[0].strip()
        if media_type in ("text/plain", "application/openmetrics-text"):
            return _quality(part) > 0
        if media_type.endswith(("/json", "+json")):
            return False
    return False


def _quality(part: str) -> float:
    for parameter in part.split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0


def _nanoseconds(time: datetime | None) -> int | None:
    return None if time is None else (time - _EPOCH) // timedelta(microseconds=1) * 1000


async def _pieces(metrics: dict[str, Iterator[Point]]) -> AsyncIterator[bytes]:
    """Yield a JSON object piece by piece, and let others have their turn after each."""
    opening = b"{"
    for name, points in metrics.items():
        yield opening + orjson.dumps(name) + b":["
        opening, comma = b",", b""
        while piece := [*islice(points, PIECE)]:
            yield comma + orjson.dumps(piece)[1:-1]
            comma = b","
            await asyncio.sleep(0)
        yield b"]"
    yield b"}" if metrics else b"{}"
