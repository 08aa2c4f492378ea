"""What a trigger would have done, had it been there: rules are tried against the past."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from flowdapt.errors import InvalidResource
from flowdapt.resources import timestamp
from flowdapt.triggers import EventRule, TimeRule
from flowdapt_triggers import history
from flowdapt_triggers.moments import moment
from flowdapt_triggers.options import LONGEST_SECONDS
from flowdapt_triggers.templates import filled

if TYPE_CHECKING:
    from flowdapt_triggers.resource import TriggerRule
    from flowdapt_triggers.service import TriggerService

MOST_TIMES = 1_000  #: of a schedule, in one trial: the last ones
AT_ONCE = 100  #: times or events that are looked at until others have their turn
LOOK_BACK = 60.0, 8  #: seconds in which times are looked for first, and how much longer the next


class Trial:
    """A trigger that is tried.

    :param service: knows the types of rules; the trigger need not be applied
    :ivar tried: events that were looked at
    :ivar more: whether there were more times than are returned
    """

    def __init__(self, service: TriggerService, trigger: TriggerRule) -> None:
        self._service, self._trigger = service, trigger
        self._rule = service.makers.rule(trigger.spec)
        self.tried, self.more = 0, False

    async def since(self, time: datetime) -> Sequence[Mapping[str, Any]]:
        """Return for what it would have fired since a time: times, or kept events."""
        if isinstance(self._rule, TimeRule):
            try:
                found = await self._times(self._rule, time)
            except Exception as error:  # whatever a rule of somebody raises
                fact = f"it cannot say when it is due: {type(error).__name__}: {error}"
                raise InvalidResource.at("trigger", ("spec", "rule"), fact) from None
            return [self._firing(one, {}) for one in found]
        self._hears()
        return [found async for found in self._kept(time)]

    async def _times(self, rule: TimeRule, time: datetime) -> list[str]:
        """Return the last times; those that are longer ago are only looked for if these are few."""
        now, (seconds, longer) = self._service.clock.now(), LOOK_BACK
        while True:
            begin, count = max(time, ago(now, seconds)), 0
            whole = begin == time or seconds >= LONGEST_SECONDS
            found: deque[str] = deque(maxlen=MOST_TIMES)
            due = rule.due(begin)
            while due is not None and due <= now:
                found.append(timestamp(due))
                due, count = rule.due(due), count + 1
                if count % AT_ONCE == 0:
                    await asyncio.sleep(0)
            if whole or count >= MOST_TIMES:
                self.more = count > MOST_TIMES or (not whole and _before(rule, time, found[0]))
                return [*found]
            seconds *= longer

    def _hears(self) -> None:
        if not isinstance(self._rule, EventRule):
            kind = self._trigger.spec.type
            fact = f"{kind!r} hears no events, so that it cannot be tried on any"
            raise InvalidResource.at("trigger", ("spec", "type"), fact)

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
            if self.tried % AT_ONCE == 0:
                await asyncio.sleep(0)
            if (found := self.on(event)) is not None:
                yield found

    def on_one(self, event: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Return what it would do on an event of somebody, if anything.

        :raises InvalidResource: it is none, or the rule hears none
        """
        self._hears()
        time, kind = event.get("time"), event.get("type")
        if time is not None and not (isinstance(time, str) and moment(time)):
            fact = f"is {time!r:.50}, and should be a time such as '2031-04-05T03:00:00'"
            raise InvalidResource.at("request body", ("event", "time"), fact)
        for name, text in (("type", kind), ("id", event.get("id"))):
            if not isinstance(text, str | None):
                raise InvalidResource.at("request body", ("event", name), "should be a text")
        return self.on(event)

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
    """Return the time so long ago; none of more than a century."""
    return now - timedelta(seconds=min(seconds, LONGEST_SECONDS))


def _before(rule: TimeRule, time: datetime, first: str) -> bool:
    due = rule.due(time)
    return due is not None and timestamp(due) < first
