"""The service: exports what the settings ask for, or says what is missing for it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, ClassVar

from flowdapt.services import Service

if TYPE_CHECKING:
    from flowdapt.server import Server
    from flowdapt_telemetry.export import Export

logger = logging.getLogger(__name__)


class TelemetryService(Service):
    """Exports traces and metrics while ``telemetry.enabled`` is set, and else does nothing at all.

    :ivar export: what it does that with; nothing where it is off, or not possible
    """

    order: ClassVar[int] = 60  # after those whose numbers it exports

    def __init__(self, server: Server, **options: Any) -> None:
        super().__init__(server, **options)
        self.export: Export | None = None

    async def start(self) -> None:
        """Begin to export. Whatever is wrong with that is logged, and the server starts."""
        if not self.server.settings.telemetry.enabled:
            return
        try:
            from flowdapt_telemetry.export import Export  # half a second, for those who want it

            export = Export(self.server)
        except ImportError as error:
            logger.warning(
                "telemetry.enabled is set, and nothing is exported: %s; "
                "try: pip install 'flowdapt[otel]'",
                error,
            )
        except Exception:  # such as an endpoint that is none; a server is worth more than its trace
            logger.exception("telemetry.enabled is set, and nothing is exported")
        else:
            export.start()
            self.export = export

    async def stop(self) -> None:
        """Export what is left, within a limit."""
        if self.export is not None:
            await self.export.stop()
