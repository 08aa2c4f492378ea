"""Who asked for a run: the span of the caller, as HTTP requests name it."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

from flowdapt_telemetry.service import TelemetryService

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from flowdapt.server import Server

#: The header ``traceparent`` of the request that is answered. The tasks that see a run through are
#: begun while its request is answered, so they find it here too, as long as the run takes.
CALLER: ContextVar[str | None] = ContextVar("flowdapt_telemetry_caller", default=None)


def noting(app: ASGIApp, server: Server) -> ASGIApp:
    """Return ``app`` with its callers noted, where traces are exported."""
    service = server.services.get("telemetry")
    exports = isinstance(service, TelemetryService) and service.export is not None
    return Callers(app) if exports else app


class Callers:
    """Notes the span of each caller that names one."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        for name, value in scope.get("headers", ()):
            if name == b"traceparent":
                token = CALLER.set(value.decode("latin-1"))
                try:
                    await self.app(scope, receive, send)
                finally:
                    CALLER.reset(token)
                return
        await self.app(scope, receive, send)
