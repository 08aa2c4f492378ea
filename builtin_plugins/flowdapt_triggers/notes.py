"""What the server writes on triggers: when they fired, and up to which time they were seen to."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID

from flowdapt.errors import ResourceChanged, ResourceNotFound
from flowdapt.resources import SERVER_ANNOTATIONS, timestamp
from flowdapt_triggers.resource import TriggerRule

if TYPE_CHECKING:
    from flowdapt.engine import Engine
    from flowdapt_triggers.clock import Clock
    from flowdapt_triggers.lives import Live

logger = logging.getLogger(__name__)

NOTE_SECONDS = 1.0  #: how often; what is not noted when a server dies, its events tell

LAST_RUN = f"{SERVER_ANNOTATIONS}last_run"  #: when it fired last, for published clients
LAST_DUE = f"{SERVER_ANNOTATIONS}last_due"  #: the last time that was seen to
NOTED = f"{SERVER_ANNOTATIONS}noted"  #: when this was written; that renews ``updated_at``, too
CHANGED = f"{SERVER_ANNOTATIONS}changed"  #: when the trigger itself was changed last


class Notes:
    """Writes on triggers at work, the last firing of each, and not more often than it must.

    :param lives: the triggers at work
    """

    def __init__(self, engine: Engine, clock: Clock, lives: Mapping[UUID, Live]) -> None:
        self._engine, self._clock, self._lives = engine, clock, lives
        self._unnoted: set[Live] = set()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to write."""
        self._task = asyncio.create_task(self._write_on_and_on(), name="triggers/notes")

    async def stop(self) -> None:
        """Write what is left."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        await self.write()

    def add(self, live: Live) -> None:
        """Have it written that a trigger fired, or missed something."""
        self._unnoted.add(live)

    async def _write_on_and_on(self) -> None:
        while True:
            await asyncio.sleep(NOTE_SECONDS)
            await self.write()

    async def write(self) -> None:
        """Write what is left now."""
        unnoted, self._unnoted = self._unnoted, set()
        for live in unnoted:
            if self._lives.get(live.uid) is not live:  # it was changed meanwhile
                continue
            last = live.tally.last_fired
            time = max(last or self._clock.now(), live.resource.metadata.updated_at)
            found = {CHANGED: timestamp(live.since), NOTED: timestamp(time)}
            if last is not None:
                found[LAST_RUN] = timestamp(last)
            if live.past.due is not None:
                found[LAST_DUE] = timestamp(live.past.due)
            try:
                await self._engine.note(TriggerRule, live.resource, found, time=time)
            except (ResourceNotFound, ResourceChanged):  # it was changed meanwhile
                continue
            except Exception as error:  # such as a disk that is full
                self._unnoted.add(live)
                logger.warning("trigger %r is noted later: %s", live.resource.name, error)


def since(trigger: TriggerRule) -> tuple[datetime, datetime | None]:
    """Return when a trigger was changed, and the time up to which it was seen to since."""
    found, updated = trigger.metadata.annotations, trigger.metadata.updated_at
    if found.get(NOTED) != timestamp(updated):  # it was changed after it fired
        return updated, None
    changed, due = _time(found.get(CHANGED)), _time(found.get(LAST_DUE))
    return changed or updated, due


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text).replace(tzinfo=UTC)
