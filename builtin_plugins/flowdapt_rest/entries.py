"""Events as listeners are told of them, and which of them a listener wants."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson

from flowdapt.catalog import identifier
from flowdapt.events import AUDIT
from flowdapt.storage import INLINE_BYTES, EventQuery
from flowdapt_rest import sse

if TYPE_CHECKING:
    from collections.abc import Collection


@dataclass(frozen=True, slots=True)
class Entry:
    """An event, as far as it matters to whom it is told.

    :param kind: of the resource that changed
    :param text: its JSON, with its position where it has one, and without a large resource
    """

    position: int
    type: str
    channel: str
    subject: str
    kind: str | None
    workflow: str | None
    stage: str | None
    text: bytes

    @classmethod
    def of(cls, document: bytes, position: int = 0) -> Entry:
        """Return an event.

        :param document: its JSON
        :param position: in the log; 0 where it is not kept
        """
        facts = orjson.loads(document)
        data = facts["data"] if isinstance(facts["data"], dict) else {}
        if len(document) > INLINE_BYTES and "resource" in data:  # it is in the history, whole
            data["resource_bytes"] = len(orjson.dumps(data.pop("resource")))
            document = orjson.dumps(facts)
        kind, workflow, stage = (_text(data.get(name)) for name in ("kind", "workflow", "stage"))
        return cls(
            position,
            facts["type"],
            facts["channel"],
            facts["subject"],
            kind,
            workflow,
            stage,
            _placed(document, position) if position else document,
        )

    @property
    def message(self) -> bytes:
        """What a listener is told."""
        # A line end in a name would end the field, and could begin another one.
        name = re.sub(r"\s", " ", self.type)
        return sse.message(self.text, event=name, id=self.position or None)

    @property
    def run(self) -> UUID | None:
        """The run that it is about."""
        what, _, uid = self.subject.partition("/")
        found = identifier(uid) if what == "workflow_run" else None
        return found if isinstance(found, UUID) else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _placed(document: bytes, position: int) -> bytes:
    """Return an event's JSON with its position among its members."""
    return b'{"position":%d,' % position + document[1:]


@dataclass(frozen=True, slots=True)
class Filter:
    """Which events somebody wants; what is not given does not matter.

    :param kind: of the resource that changed
    :param subject: such as ``config/<uid>``
    :param channels: without any, all but the audit trail
    """

    run: UUID | None = None
    workflow: str | None = None
    types: Collection[str] = ()
    channels: Collection[str] = ()
    kind: str | None = None
    subject: str | None = None

    def query(self, after: int, limit: int, *, newest_first: bool = False) -> EventQuery:
        """Return what to ask a storage for; :meth:`wants` chooses among what it answers."""
        return EventQuery(
            after=after,
            limit=limit,
            newest_first=newest_first,
            channels=self.channels,
            run=self.run,
            workflow=self.workflow,
            subject=self.subject,
        )

    def covers(self, channel: str) -> bool:
        """Tell whether events of a channel may be wanted."""
        return channel in self.channels if self.channels else channel != AUDIT

    def wants(self, entry: Entry) -> bool:
        """Tell whether an event is wanted."""
        return (
            self.covers(entry.channel)
            and (not self.types or entry.type in self.types)
            and (self.subject is None or entry.subject == self.subject)
            and (self.run is None or entry.subject == f"workflow_run/{self.run}")
            and (self.kind is None or entry.kind == self.kind)
            and (self.workflow is None or entry.workflow == self.workflow)
        )
