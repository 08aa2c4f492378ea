"""What is exported, and to where. Importing this module needs the extra ``otel``."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from contextlib import suppress
from time import time_ns
from typing import TYPE_CHECKING, cast

from opentelemetry.sdk.metrics.export import MetricExportResult
from opentelemetry.sdk.resources import Resource

from flowdapt import __version__
from flowdapt_telemetry.complaints import Complaints
from flowdapt_telemetry.exporters import endpoint, exporters
from flowdapt_telemetry.measures import Measuring, metrics_data
from flowdapt_telemetry.threads import in_thread
from flowdapt_telemetry.traces import Traces

if TYPE_CHECKING:
    from flowdapt.server import Server

logger = logging.getLogger(__name__)

STOP_SECONDS = 3.0  #: how long a stopping server waits for a collector
LAST_SECONDS = 0.3  #: the same for one that was away before


class Export:
    """Exports the traces of a server, and its metrics where a service ``metrics`` keeps any.

    :raises ImportError: a library is missing
    """

    def __init__(self, server: Server) -> None:
        telemetry = server.settings.telemetry
        self.complaints = Complaints(endpoint(telemetry))
        self.resource = Resource.create(
            {
                "service.name": server.settings.name,
                "service.version": __version__,
                "host.name": socket.gethostname(),
                "process.pid": os.getpid(),
                "flowdapt.executor": server.engine.executor.kind,
            }
        )
        spans, self._metrics = exporters(telemetry)
        self._traces = Traces(server, spans, self.resource, self.complaints)
        # Plugins do not know one another; this one needs no more than Measuring says.
        self._measuring = cast("Measuring | None", server.services.get("metrics"))
        self._seconds = telemetry.metrics_interval_ms / 1000

    def start(self) -> None:
        """Begin."""
        self.complaints.begin()
        self._traces.start()
        self._exporting = asyncio.create_task(self._export_on(), name="telemetry-metrics")

    async def stop(self) -> None:
        """Export what is left; a collector that does not take it in time goes without."""
        self._exporting.cancel()
        with suppress(asyncio.CancelledError):
            await self._exporting
        seconds = LAST_SECONDS if self.complaints.failing else STOP_SECONDS
        await asyncio.gather(self._traces.stop(seconds), self._last_metrics(seconds))
        self.complaints.end()

    async def _export_on(self) -> None:
        while True:
            await asyncio.sleep(self._seconds)
            try:
                await self.export_metrics()
            except Exception:
                logger.exception("metrics were not exported")

    async def export_metrics(self) -> None:
        """Export what the server's metrics show at present."""
        if self._measuring is None:
            return
        data = metrics_data(self._measuring, self.resource, time_ns())
        if await in_thread(self._metrics.export, data) is MetricExportResult.SUCCESS:
            self.complaints.succeeded("metrics")
        else:
            self.complaints.failed("metrics")

    async def _last_metrics(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self.export_metrics()
        except TimeoutError:
            self.complaints.failed("metrics")
        self._metrics.shutdown()
