"""Events that ask for a run, as programs that only tell events can."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from flowdapt.errors import FlowdaptError

if TYPE_CHECKING:
    from flowdapt.engine import Engine
    from flowdapt.events import Event

logger = logging.getLogger(__name__)

RUN_WORKFLOW = "com.event.workflow.run_workflow"  #: an event that asks for a run


class Wishes:
    """Runs the workflows that events ask for, without waiting."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._granting: set[asyncio.Task[None]] = set()

    def hear(self, event: Event) -> None:
        """Run the workflow that an event asks for."""
        task = asyncio.create_task(self._grant(event.data), name="triggers/wish")
        self._granting.add(task)
        task.add_done_callback(self._granting.discard)

    async def _grant(self, data: Any) -> None:
        try:
            name, given = data["identifier"], data.get("payload")
            await self._engine.submit(name, given, source="trigger")
        except (FlowdaptError, KeyError, TypeError, AttributeError) as error:
            logger.warning("event %s asks for a run of %.200r: %s", RUN_WORKFLOW, data, error)
