"""The way of a trace: from the end of a run to the thread that exports it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from itertools import islice
from typing import TYPE_CHECKING
from uuid import UUID

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from flowdapt.events import RUN_FINISHED, STAGE_CHANGED, Event
from flowdapt.runs import StageRecord
from flowdapt_telemetry.callers import CALLER
from flowdapt_telemetry.spans import caller, of_run, of_stages
from flowdapt_telemetry.threads import in_thread

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource

    from flowdapt.server import Server
    from flowdapt.storage import StoredRun
    from flowdapt_telemetry.complaints import Complaints

logger = logging.getLogger(__name__)

AT_ONCE = 50  #: spans that are made in one turn of the loop, in well under a millisecond


class Traces:
    """Makes a trace of each run once it has ended.

    Two queues hold what waits: ended runs, without what was given to them or came of them, and
    spans. Each holds at most ``telemetry.trace_max_queue_size``. Spans are made as the exporting
    thread takes them, so that a run with more stages than that loses none; runs that end while the
    first queue is full have no trace.

    :param exporter: called in a thread of the SDK
    """

    def __init__(
        self,
        server: Server,
        exporter: SpanExporter,
        resource: Resource,
        complaints: Complaints,
    ) -> None:
        telemetry = server.settings.telemetry
        self._engine, self._resource, self._complaints = server.engine, resource, complaints
        self._most = telemetry.trace_max_queue_size
        self._runs: asyncio.Queue[ReadableSpan] = asyncio.Queue(self._most)
        self._stages: dict[UUID, dict[str, StageRecord]] = {}
        self._waiting, self._room = 0, asyncio.Event()
        self._exporter = exporter
        self._processor = BatchSpanProcessor(
            Outlet(exporter, asyncio.get_running_loop(), self._exported),
            max_queue_size=self._most,
            schedule_delay_millis=telemetry.trace_schedule_delay_ms,
            max_export_batch_size=min(telemetry.trace_export_batch_size, self._most),
        )
        self._listening = ExitStack()

    def start(self) -> None:
        """Begin with the runs that end from now on."""
        listening = self._engine.events.listening
        self._listening.enter_context(listening(self.on_finished, RUN_FINISHED))
        if not self._engine.keep_runs:
            # With a listener for them every change of a stage becomes an event, which costs; but of
            # runs that are not kept nothing is left to be read when they have ended.
            self._listening.enter_context(listening(self.on_stage, STAGE_CHANGED))
        self._handing_on = asyncio.create_task(self._hand_on(), name="telemetry-traces")

    async def stop(self, seconds: float) -> None:
        """Export what waits, and give up what takes longer than so many seconds."""
        self._listening.close()
        try:
            async with asyncio.timeout(seconds):
                await self._runs.join()
                await in_thread(self._processor.shutdown)
        except TimeoutError:
            self._exporter.shutdown()  # ends an attempt that waits for the next
            self._complaints.failed("traces", lost=self._waiting + self._runs.qsize())
        self._handing_on.cancel()
        with suppress(asyncio.CancelledError):
            await self._handing_on

    def on_finished(self, event: Event) -> None:
        """Have a run exported."""
        stored: StoredRun = event.data
        span = of_run(stored.run, self._resource, caller(CALLER.get()))
        try:
            self._runs.put_nowait(span)
        except asyncio.QueueFull:
            self._stages.pop(stored.run.uid, None)
            self._complaints.overflowed()

    def on_stage(self, event: Event) -> None:
        """Note how a stage of a run stands that will not be kept."""
        record = StageRecord.model_validate(event.data)
        self._stages.setdefault(event.data["run"], {})[record.stage] = record

    async def _hand_on(self) -> None:
        while True:
            span = await self._runs.get()
            try:
                await self._hand_on_one(span)
            except Exception:
                logger.exception("a trace was not made")
            self._runs.task_done()

    async def _hand_on_one(self, span: ReadableSpan) -> None:
        records = await self._records(UUID(str((span.attributes or {})["workflow.run.uid"])))
        spans = iter((span, *of_stages(span, records)) if records else (span,))
        while some := [*islice(spans, AT_ONCE)]:
            for one in some:
                await self._until_there_is_room()
                self._waiting += 1
                self._processor.on_end(one)
            if len(some) == AT_ONCE:
                await asyncio.sleep(0)

    async def _records(self, run: UUID) -> Iterable[StageRecord]:
        if not self._engine.keep_runs:
            return self._stages.pop(run, {}).values()
        # Not by way of the engine, which would look for the run first. One that was deleted as soon
        # as it had ended has no stages.
        return await self._engine.storage.list_stages(run)

    async def _until_there_is_room(self) -> None:
        while self._waiting >= self._most:
            self._room.clear()
            await self._room.wait()

    def _exported(self, count: int, taken: bool) -> None:
        self._waiting -= count
        self._room.set()
        if taken:
            self._complaints.succeeded("traces")
        else:
            self._complaints.failed("traces", lost=count)


class Outlet(SpanExporter):
    """An exporter that tells the event loop what became of each batch."""

    def __init__(
        self,
        exporter: SpanExporter,
        loop: asyncio.AbstractEventLoop,
        told: Callable[[int, bool], None],
    ) -> None:
        self._exporter, self._loop, self._told = exporter, loop, told

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export a batch."""
        result = SpanExportResult.FAILURE
        try:
            result = self._exporter.export(spans)
        finally:
            with suppress(RuntimeError):  # the loop is closed, and nobody wants to know
                taken = result is SpanExportResult.SUCCESS
                self._loop.call_soon_threadsafe(self._told, len(spans), taken)
        return result

    def shutdown(self) -> None:
        """End exporting."""
        self._exporter.shutdown()
