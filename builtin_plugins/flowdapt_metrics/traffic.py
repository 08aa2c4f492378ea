"""Counts requests, as a layer around the HTTP interface."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

from flowdapt_metrics.instruments import Attributes
from flowdapt_metrics.service import MetricsService

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from flowdapt.server import Server

CLASSES: tuple[Attributes, ...] = tuple((("status", f"{n}xx"),) for n in range(10))
START = "http.response.start"


def counted(app: ASGIApp, server: Server) -> ASGIApp:
    """Return ``app`` with its requests counted, where the server counts anything."""
    service = server.services.get("metrics")
    return Traffic(app, service) if isinstance(service, MetricsService) else app


class Traffic:
    """Counts requests, and measures how long each waits for the begin of its reply.

    Not for its end, because a stream of events may have none for hours.
    """

    def __init__(self, app: ASGIApp, service: MetricsService) -> None:
        self.app = app
        self.latency, self.count, self.active = service.latency, service.requests, service.active

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun = perf_counter()

        async def noting(message: Message) -> None:
            if message["type"] == START:
                self.latency.record((perf_counter() - begun) * 1e3)
                self.count.add(1, CLASSES[message["status"] // 100])
            await send(message)

        self.active.add(1)
        try:
            await self.app(scope, receive, noting)
        finally:
            self.active.add(-1)
