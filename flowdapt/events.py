"""Frozen facts about what happened, and the bus that tells whoever listens."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from flowdapt.resources import now, timestamp
from flowdapt.texts import to_json

logger = logging.getLogger(__name__)

WORKFLOWS = "workflows"  #: the channel of everything about runs
RESOURCES = "resources"  #: the channel of changes of what is applied: the history of each
AUDIT = "audit"  #: the channel of who did what; not for everybody

RUN_STARTED = "com.event.workflow.workflow_started"
RUN_RESUMED = "com.event.workflow.workflow_resumed"  #: by a server that was started anew
RUN_FINISHED = "com.event.workflow.workflow_finished"  #: failed and cancelled runs too
STAGE_CHANGED = "com.event.workflow.stage_changed"  #: a stage started, moved on or ended
LOG_APPENDED = "com.event.workflow.log_appended"  #: lines of a stage were stored; never kept
#: the generator of a run's last stage yielded an item, which comes as JSON text; never kept
ITEM_YIELDED = "com.event.workflow.item_yielded"
RESOURCE_CREATED = "com.event.resource.created"
RESOURCE_CHANGED = "com.event.resource.changed"
RESOURCE_NOTED = "com.event.resource.noted"  #: the server's annotations changed; never kept
RESOURCE_DELETED = "com.event.resource.deleted"

ACTOR = "actor"  #: the header that names who asked for what happened


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened.

    :param type: what, as a dotted name
    :param data: the facts, as JSON-like values, or an object whose ``facts()`` are
    :param run: the run that it is about, if it is about one
    :param workflow: the name of that run's workflow
    :param subject: what it is about if not a run, such as ``config/<uid>``
    :param kept: whether storages keep it; what only tells how things stand is not kept
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
    run: UUID | None = None
    workflow: str | None = None
    subject: str = ""
    kept: bool = True

    def text(self) -> bytes:
        """Return the event as JSON text."""
        facts = getattr(self.data, "facts", None)
        return to_json(
            {
                "id": self.id,
                "time": timestamp(self.time),
                "type": self.type,
                "channel": self.channel,
                "source": self.source,
                "subject": f"workflow_run/{self.run}" if self.run else self.subject,
                "headers": self.headers,
                "correlation_id": self.correlation_id,
                "reply_channel": self.reply_channel,
                "trace_parent": self.trace_parent,
                "data": facts() if callable(facts) else self.data,
            }
        )


class Events:
    """Tells listeners what happened, in order, within one event loop."""

    def __init__(self) -> None:
        self._listeners: list[tuple[Callable[[Event], None], frozenset[str]]] = []

    def publish(self, event: Event) -> None:
        """Call every listener of its type; one that raises is logged and harms no other."""
        for listener, types in tuple(self._listeners):
            if types and event.type not in types:
                continue
            try:
                listener(event)
            except Exception:
                logger.exception("a listener failed on event %s", event.type)

    @contextlib.contextmanager
    def listening(self, listener: Callable[[Event], None], *types: str) -> Iterator[None]:
        """Have ``listener`` called for each event until the context ends; it must not block.

        :param types: of the events that it wants; without any, it wants all
        """
        entry = (listener, frozenset(types))
        self._listeners.append(entry)
        try:
            yield
        finally:
            self._listeners.remove(entry)

    def heard(self, what: str) -> bool:
        """Whether anybody wants events of that type; spares building those that nobody reads."""
        return any(not types or what in types for _, types in self._listeners)
