"""What a trigger would have done, had it been there: rules are tried against the past."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from flowdapt.resources import timestamp
from flowdapt.triggers import EventRule, TimeRule
from flowdapt_triggers import history
from flowdapt_triggers.templates import filled

if TYPE_CHECKING:
    from flowdapt_triggers.resource import TriggerRule
    from flowdapt_triggers.service import TriggerService

MOST_TIMES = 1_000  #: of a schedule, in one trial


class Trial:
    """A trigger that is tried.

    :param service: knows the types of rules; the trigger need not be applied
    """

    def __init__(self, service: TriggerService, trigger: TriggerRule) -> None:
        self._service, self._trigger = service, trigger
        self._rule = service.makers.rule(trigger.spec)
        self.tried = 0  #: events that were looked at

    async def since(self, time: datetime) -> Sequence[Mapping[str, Any]]:
        """Return for what it would have fired since a time: times, or kept events."""
        if isinstance(self._rule, TimeRule):
            return [self._firing(one, {}) for one in self._times(self._rule, time)]
        return [found async for found in self._kept(time)]

    def _times(self, rule: TimeRule, time: datetime) -> list[str]:
        now, found = self._service.clock.now(), list[str]()
        due = rule.due(time)
        while due is not None and due <= now and len(found) < MOST_TIMES:
            found.append(timestamp(due))
            due = rule.due(due)
        return found

    async def _kept(self, time: datetime) -> AsyncIterator[Mapping[str, Any]]:
        storage = self._service.engine.storage
        channels = await storage.event_channels()
        wanted = [channel for channel in channels if channel != history.CHANNEL]
        types = self._rule.types if isinstance(self._rule, EventRule) else ()
        events = await history.newest(
            storage,
            wanted,
            limit=history.READ_BACK,
            since=time,
            wanted=lambda event: not types or event["type"] in types,
        )
        for event in events:
            if (found := self.on(event)) is not None:
                yield found

    def on(self, event: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Return what it would do on an event, if anything."""
        self.tried += 1
        if not isinstance(self._rule, EventRule):
            return None
        try:
            met = self._rule.met_by(event)
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
            return {**self._firing(self._time(event), event), "error": why}
        return self._firing(self._time(event), event) if met else None

    def _time(self, event: Mapping[str, Any]) -> str:
        return str(event.get("time") or timestamp(self._service.clock.now()))

    def _firing(self, time: str, event: Mapping[str, Any]) -> Mapping[str, Any]:
        action = self._trigger.spec.action
        facts = {"event": event, "trigger": self._trigger.name, "time": time, "input": None}
        return {
            "time": time,
            "event": event.get("id"),
            "type": event.get("type"),
            "subject": event.get("subject"),
            "action": {"target": action.target, "parameters": filled(action.parameters, facts)},
            "error": "",
        }


def ago(now: datetime, seconds: float) -> datetime:
    """Return the time so long ago."""
    return now - timedelta(seconds=seconds)
