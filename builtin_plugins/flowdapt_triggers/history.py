"""What is on record of triggers: that they fired, failed to, or missed times; each is an event."""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from flowdapt.events import Event
from flowdapt.resources import timestamp
from flowdapt.storage import EventQuery

if TYPE_CHECKING:
    from flowdapt.resources import Resource
    from flowdapt.storage import Storage
    from flowdapt.triggers import Occasion
    from flowdapt_triggers.chains import Chains

CHANNEL = "triggers"  #: of all events of triggers
FIRED = "com.event.trigger.fired"
FAILED = "com.event.trigger.failed"  #: its action was not done, or not to its end
MISSED = "com.event.trigger.missed"  #: times or events that nothing was done for

READ_BACK = 20_000  #: events that a server looks at when it starts, the newest ones
KEYS_KEPT = 1_000  #: of a trigger's last occasions
_PAGE = 1_000


def subject(trigger: Resource) -> str:
    """Return what events say that they are about."""
    return f"{trigger.kind}/{trigger.metadata.uid}"


def fired(trigger: Resource, occasion: Occasion, action: str, **facts: Any) -> Event:
    """Return the event that tells that a trigger fired.

    :param facts: further ones, such as the ``run`` that began
    """
    return _event(FIRED, trigger, _told(occasion) | {"action": action, **facts}, occasion)


def failed(trigger: Resource, occasion: Occasion, error: str) -> Event:
    """Return the event that tells why an action was not done."""
    return _event(FAILED, trigger, _told(occasion) | {"error": error}, occasion)


def missed(
    trigger: Resource,
    reason: str,
    first: datetime,
    last: datetime,
    *,
    count: int | None = 1,
    key: str | None = None,
) -> Event:
    """Return the event that tells what nothing was done for.

    :param count: how many times; absent where they were too many to count
    :param key: of the occasion, where it is one
    """
    times = {"first": timestamp(first), "last": timestamp(last), "count": count}
    return _event(MISSED, trigger, {"reason": reason, "key": key, **times})


def _told(occasion: Occasion) -> dict[str, Any]:
    return {"key": occasion.key, "due": timestamp(occasion.time)}


def _event(
    kind: str, trigger: Resource, data: Mapping[str, Any], occasion: Occasion | None = None
) -> Event:
    cause = occasion.event.get("id") if occasion is not None else None
    return Event(
        type=kind,
        channel=CHANNEL,
        source="trigger",
        subject=subject(trigger),
        correlation_id=str(cause) if cause else None,
        data={"trigger": trigger.name, **data},
    )


@dataclass
class Past:
    """What is known of a trigger from before.

    :param due: the last time that was seen to
    :param keys: of the last occasions for which it fired, the newest last, and when these were
    :param forgotten: the latest time of those that are not among them any more
    """

    due: datetime | None = None
    keys: OrderedDict[str, datetime] = field(default_factory=OrderedDict)
    forgotten: datetime | None = None

    def may_be_new(self, time: datetime) -> bool:
        """Tell whether what happened then may not have been seen to."""
        return self.forgotten is None or time > self.forgotten

    def has(self, key: str) -> bool:
        """Tell whether the trigger fired for an occasion."""
        return key in self.keys

    def add(self, key: str, due: datetime) -> None:
        """Note that an occasion was seen to.

        :param due: when it happened; where it is a time, so are all before
        """
        self.keys[key] = due
        if len(self.keys) > KEYS_KEPT:
            _, time = self.keys.popitem(last=False)
            self.forgotten = time if self.forgotten is None else max(time, self.forgotten)
        if key == timestamp(due):
            self.seen_to(due)

    def seen_to(self, due: datetime) -> None:
        """Note that a time was seen to, and with it all before."""
        self.due = due if self.due is None else max(due, self.due)


async def read_back(storage: Storage, chains: Chains) -> tuple[dict[UUID, Past], datetime | None]:
    """Return what the newest events tell of each trigger.

    :param chains: is told which runs began, and what led to them
    :return: and the time before which more happened than was read, if there was more
    """
    pasts: dict[UUID, Past] = {}
    found = await newest(storage, [CHANNEL], limit=READ_BACK)
    for event in found:
        if event["type"] not in (FIRED, MISSED, FAILED):
            continue
        past = pasts.setdefault(UUID(event["subject"].rpartition("/")[2]), Past())
        data = event["data"]
        due = moment(data.get("due") or data["last"])
        if data["key"] is None:
            past.seen_to(due)
        else:
            past.add(data["key"], due)
        if run := data.get("run"):
            chains.begun(UUID(run), [*data["chain"], data["trigger"]])
    return pasts, moment(found[0]["time"]) if len(found) == READ_BACK else None


async def newest(
    storage: Storage,
    channels: Iterable[str],
    *,
    limit: int,
    since: datetime | None = None,
    wanted: Callable[[Mapping[str, Any]], bool] = bool,
) -> list[dict[str, Any]]:
    """Return the newest events of some channels, in the order in which they happened.

    :param limit: events that are looked at, of which only those are kept that are wanted
    :param since: none that happened before
    """
    found: list[dict[str, Any]] = []
    query, looked = EventQuery(channels=[*channels], newest_first=True, limit=_PAGE), 0
    while looked < limit:
        page = await storage.read_events(query)
        for text in page.entries.values():
            event = json.loads(text)
            looked += 1
            if since is not None and moment(event["time"]) < since:
                return found[::-1]
            if wanted(event):
                found.append(event)
        if page.next == query.after:
            break
        query = replace(query, after=page.next)
        await asyncio.sleep(0)
    return found[::-1]


def moment(text: str) -> datetime:
    """Return a time as it stands in events."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)
