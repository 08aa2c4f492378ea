"""The service: counts runs, and takes a sample of everything now and then."""

from __future__ import annotations

import asyncio
import logging
from contextlib import ExitStack, suppress
from functools import lru_cache
from time import time_ns
from typing import TYPE_CHECKING, Any

from flowdapt.events import RUN_FINISHED, Event
from flowdapt.runs import RunState
from flowdapt.services import Service
from flowdapt_metrics.history import History
from flowdapt_metrics.instruments import (
    MOST_SETS,
    Attributes,
    Counter,
    Gauge,
    Histogram,
    Instrument,
    attributes,
)
from flowdapt_metrics.machine import Machine

if TYPE_CHECKING:
    from uuid import UUID

    from flowdapt.server import Server
    from flowdapt.storage import StoredRun

logger = logging.getLogger(__name__)

LATENCY_BOUNDS = (0, 1, 2.5, 5, 10, 25, 50, 75, 100, 250, 500, 1000, 2500, 5000, 10000)  #: in ms
RUN_BOUNDS = (0, 5, 10, 50, 100, 500, 1000, 5000, 30000, 300000, 3600000)  #: in ms


class MetricsService(Service):
    """Counts and measures.

    Other plugins find it as ``server.services["metrics"]``, and read :attr:`instruments` and
    :attr:`begun` there.

    :ivar begun: since when it counts, in nanoseconds since 1970
    :ivar history: what was sampled
    :ivar latency: of requests, in milliseconds
    """

    def __init__(self, server: Server, **options: Any) -> None:
        super().__init__(server, **options)
        telemetry = server.settings.telemetry
        self.seconds = telemetry.metrics_interval_ms / 1000
        self.begun = time_ns()
        self.history = History(seconds=telemetry.metrics_max_storage_time_s, begun=self.begun)
        self.machine = Machine()
        self.latency = Histogram(
            "api_request_latency", LATENCY_BOUNDS, unit="ms", about="Time until a reply began."
        )
        self.requests = Counter("api_request_count", unit="1", about="Requests by status.")
        self.active = Gauge(
            "http.server.active_requests", unit="1", about="Requests that are answered at present."
        )
        self.executed = Counter(
            "workflows_executed", unit="1", about="Runs that ended, however.", quiet=True
        )
        self.failed = Counter("workflows_failed", unit="1", about="Runs that failed.", quiet=True)
        self.durations = Histogram(
            "workflow_execution_time",
            RUN_BOUNDS,
            unit="ms",
            about="Time from the acceptance of a run to its end.",
            quiet=True,
        )
        self.latency.row(())  # clients expect a point also before the first request
        self._stack = ExitStack()

    @property
    def instruments(self) -> list[Instrument]:
        """All that there are, each with its values under their attributes at present."""
        of_requests = [self.latency, self.requests, self.active]
        of_runs = [self.executed, self.failed, self.durations]
        return [*of_requests, *of_runs, *self.machine.instruments]

    async def start(self) -> None:
        """Take the first sample, and begin to count."""
        self.sample(time_ns())
        # Of these alone: with a listener for them, every change of a stage becomes an event too.
        self._stack.enter_context(
            self.server.engine.events.listening(self.on_finished, RUN_FINISHED)
        )
        self._sampling = asyncio.create_task(self._sample_on(), name="metrics")

    async def stop(self) -> None:
        """End counting."""
        self._stack.close()
        self._sampling.cancel()
        with suppress(asyncio.CancelledError):
            await self._sampling

    def sample(self, time: int) -> None:
        """Keep what there is to see at present.

        :param time: now, in nanoseconds since 1970
        """
        self.machine.read()
        self.history.sample(self.instruments, time)

    async def _sample_on(self) -> None:
        while True:
            await asyncio.sleep(self.seconds)
            try:
                self.sample(time_ns())
            except Exception:  # such as a file of the system that cannot be read
                logger.exception("a sample of metrics was not taken")

    def on_finished(self, event: Event) -> None:
        """Count a run that ended."""
        stored: StoredRun = event.data
        run = stored.run
        executor = self.server.engine.executor.kind
        of = _attributes(run.workflow_uid, run.workflow, executor, run.namespace, run.source)
        self.executed.add(1, of)
        if run.state is RunState.FAILED:
            self.failed.add(1, of)
        if run.finished_at is not None:
            taken = run.finished_at - run.started_at
            self.durations.record(taken.total_seconds() * 1e3, of)


@lru_cache(maxsize=2 * MOST_SETS)  # most runs are like another before
def _attributes(
    uid: UUID | None, workflow: str, executor: str, namespace: str, source: str | None
) -> Attributes:
    # Nothing that differs from run to run: each set of attributes is kept for hours.
    return attributes(
        {
            "workflow.uid": str(uid or ""),
            "workflow.name": workflow,
            "workflow.executor": executor,
            "workflow.namespace": namespace,
            "workflow.run.source": source or "",
        }
    )
