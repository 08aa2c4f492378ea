"""Frozen facts about what happened, and the bus that tells whoever listens."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from flowdapt.resources import now

logger = logging.getLogger(__name__)

WORKFLOWS = "workflows"  #: the channel of everything about runs
RUN_STARTED = "com.event.workflow.workflow_started"
RUN_FINISHED = "com.event.workflow.workflow_finished"  #: failed and cancelled runs too
STAGE_CHANGED = "com.event.workflow.stage_changed"  #: a stage started, moved on or ended


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened.

    :param type: what, as a dotted name
    :param data: the facts, as JSON-like values
    """

    type: str
    data: Any
    channel: str = WORKFLOWS
    source: str = "compute"
    id: UUID = field(default_factory=uuid4)
    time: datetime = field(default_factory=now)
    headers: dict[str, str] = field(default_factory=dict)
    correlation_id: str | None = None
    reply_channel: str | None = None
    trace_parent: str | None = None


class Events:
    """Tells listeners what happened, in order, within one event loop."""

    def __init__(self) -> None:
        self._listeners: list[Callable[[Event], None]] = []

    def publish(self, event: Event) -> None:
        """Call every listener; one that raises is logged and harms no other."""
        for listener in tuple(self._listeners):
            try:
                listener(event)
            except Exception:
                logger.exception("a listener failed on event %s", event.type)

    @contextlib.contextmanager
    def listening(self, listener: Callable[[Event], None]) -> Iterator[None]:
        """Have ``listener`` called for each event until the context ends; it must not block."""
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)

    @property
    def heard(self) -> bool:
        """Whether anybody listens; spares building events that nobody reads."""
        return bool(self._listeners)
