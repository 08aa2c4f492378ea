"""The service: looks now and then for what is past its retention, and removes it."""

from __future__ import annotations

import asyncio
import logging
import re
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from flowdapt_workers.parts import archive
from pydantic import TypeAdapter

from flowdapt.errors import ResourceNotFound
from flowdapt.events import AUDIT, RESOURCES
from flowdapt.objects import Artifacts, attached
from flowdapt.resources import Workflow, now
from flowdapt.runs import RunState
from flowdapt.services import Service
from flowdapt.settings import Duration
from flowdapt.storage import RunQuery

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from flowdapt.server import Server

logger = logging.getLogger(__name__)

SWEEP_SECONDS = 60.0  #: how often runs and events past their retention are looked for
SWEPT_AT_ONCE = 500  #: of them removed in one step

_SECONDS = TypeAdapter[float](Duration)


class RetentionService(Service):
    """Removes runs that ended too long ago, and old events."""

    order: ClassVar[int] = 10  # it is at work while the others start, and until they stopped

    def __init__(self, server: Server, **options: Any) -> None:
        super().__init__(server, **options)
        self.engine, self.storage = server.engine, server.storage
        self.kept = server.settings.events
        self.keep_runs = server.settings.services.compute.run_retention_duration

    async def start(self) -> None:
        """Begin to look; the first time is now."""
        self._sweeping = asyncio.create_task(self._sweep_on(), name="retention")

    async def stop(self) -> None:
        """Look no more."""
        self._sweeping.cancel()
        with suppress(asyncio.CancelledError):
            await self._sweeping

    async def _sweep_on(self) -> None:
        with suppress(Exception):  # artifacts may be out of reach; they are looked at next time
            await self._sweep_archives()
        seconds = min(SWEEP_SECONDS, self.keep_runs) if self.keep_runs > 0 else SWEEP_SECONDS
        while True:
            try:
                await self.sweep()
            except Exception:
                logger.exception("what is past its retention could not be removed")
            await asyncio.sleep(seconds)

    async def sweep(self) -> None:
        """Remove everything that is past its retention at present."""
        if self.keep_runs > 0:
            await _until_none(self._expire_runs)
        for workflow in await self.engine.list(Workflow):
            if (seconds := workflow.spec.options.get("retention")) is not None:
                try:
                    await self._expire_runs_of(workflow.name, seconds)
                except ValueError:  # nobody checked it when it was applied
                    logger.warning("workflow %r has no sound 'retention'", workflow.name)
        await self.storage.delete_blobs("")  # those that have had their time
        kept, trim = self.kept, self.storage.trim_events
        ages = {RESOURCES: kept.revisions, AUDIT: kept.audit}
        for channel in await self.storage.event_channels():
            if (age := ages.get(channel, kept.retention)) >= 0:
                await _until_none(partial(trim, channel, age, limit=SWEPT_AT_ONCE))

    async def _sweep_archives(self) -> None:
        """Remove large results of runs that are over, which a killed server had no time for."""
        workflows, places = await self.engine.list(Workflow), self.server.places
        durable = any(workflow.spec.options.get("durable") for workflow in workflows)
        if not durable or places.artifacts is None:
            return
        artifacts: Artifacts = attached(places.artifacts)
        found = await asyncio.to_thread(lambda: [*artifacts.list()])
        query = RunQuery(states=[state for state in RunState if not state.final])
        open_ = {archive(stored.run.uid.hex) for stored in await self.storage.list_runs(query)}
        for entry in found:
            if re.fullmatch(r"run-[0-9a-f]{32}", entry.namespace) and entry.namespace not in open_:
                await asyncio.to_thread(artifacts.delete, entry.namespace, entry.key)

    async def _expire_runs(self) -> int:
        expired = await self.storage.expired_runs(self.keep_runs, limit=SWEPT_AT_ONCE)
        for uid in expired:
            with suppress(ResourceNotFound):  # somebody deleted it meanwhile
                await self.storage.delete_run(uid)
        return len(expired)

    async def _expire_runs_of(self, workflow: str, seconds: float | str) -> None:
        before = now() - timedelta(seconds=_SECONDS.validate_python(seconds))
        query = RunQuery(
            workflow=workflow,
            states=[state for state in RunState if state.final],
            until=before,
            newest_first=False,
            limit=SWEPT_AT_ONCE,
        )
        with suppress(ResourceNotFound):  # somebody deleted one meanwhile; others go the next time
            while found := [stored.run for stored in await self.storage.list_runs(query)]:
                for run in found:
                    if run.finished_at is not None and run.finished_at < before:
                        await self.storage.delete_run(run.uid)
                    else:  # it took long
                        query = replace(query, cursor=run.uid)
                await asyncio.sleep(0)  # others have their turn


async def _until_none(remove: Callable[[], Awaitable[int]]) -> None:
    """Remove some things at a time until none is left, and give others their turn meanwhile."""
    removed = 1
    while removed:
        removed = await remove()
        await asyncio.sleep(0)
