"""What is on record of triggers: that they fired, failed to, or missed times; each is an event."""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
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
WATCHED = timedelta(hours=2)  #: keys that are not older than the last time are kept, however many
AHEAD = timedelta(hours=1)  #: by which a time that was seen to may be to come, if a clock was set
_PAGE = 1_000


def subject(trigger: Resource) -> str:
    """Return what events say that they are about."""
    return f"{trigger.kind}/{trigger.metadata.uid}"


def fired(trigger: Resource, occasion: Occasion, action: str, **facts: Any) -> Event:
    """Return the event that tells that a trigger fired.

    :param facts: further ones, such as the ``run`` that began
    """
    return _event(FIRED, trigger, _told(occasion) | {"action": action, **facts}, occasion)


def failed(
    trigger: Resource, occasion: Occasion, error: str, *, chain: Sequence[str], again: bool = False
) -> Event:
    """Return the event that tells why an action was not done.

    :param chain: triggers that led to it, the first one first
    :param again: who asked was told, and may ask for the same again
    """
    facts = {"error": error, "chain": [*chain], "again": again}
    return _event(FAILED, trigger, _told(occasion) | facts, occasion)


def missed(
    trigger: Resource,
    reason: str,
    first: datetime,
    last: datetime,
    *,
    count: int | None = 1,
    key: str | None = None,
    chain: Sequence[str] = (),
) -> Event:
    """Return the event that tells what nothing was done for.

    :param count: how many times; absent where they were too many to count
    :param key: of the occasion, where it is one; else all up to ``last`` is seen to
    :param chain: triggers that led to it, the first one first
    """
    times = {"first": timestamp(first), "last": timestamp(last), "count": count}
    return _event(MISSED, trigger, {"reason": reason, "key": key, "chain": [*chain], **times})


def behind(data: Any) -> list[str]:
    """Return the triggers that led to what is on record of one, and that one, by its data."""
    if not isinstance(data, Mapping) or not data.get("trigger"):
        return []
    chain = data.get("chain")
    return [*map(str, chain if isinstance(chain, list) else ()), str(data["trigger"])]


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
    :param watched: whether they are of a rule that watches, which tells again what is not long ago;
        nothing while that is not known
    """

    due: datetime | None = None
    keys: OrderedDict[str, datetime] = field(default_factory=OrderedDict)
    forgotten: datetime | None = None
    watched: bool | None = False

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
        self._forget()
        if key == timestamp(due):
            self.seen_to(due)

    def begin(self, *, watched: bool) -> None:
        """Keep no more than a rule needs."""
        self.watched = watched
        self._forget()

    def _forget(self) -> None:
        if self.watched is None:
            return
        newest = next(reversed(self.keys.values()), None) if self.watched else None
        while len(self.keys) > KEYS_KEPT:
            if newest is not None and next(iter(self.keys.values())) >= newest - WATCHED:
                return
            _, time = self.keys.popitem(last=False)
            self._forget_to(time)

    def _forget_to(self, time: datetime) -> None:
        self.forgotten = time if self.forgotten is None else max(time, self.forgotten)

    def seen_to(self, due: datetime) -> None:
        """Note that a time was seen to, and with it all before."""
        self.due = due if self.due is None else max(due, self.due)

    def missed_to(self, last: datetime) -> None:
        """Note that nothing is to be done any more for what happened up to then."""
        self.seen_to(last)
        self._forget_to(last)

    def set_right(self, now: datetime) -> None:
        """Forget what was seen to by a clock that was far ahead."""
        if self.due is not None and self.due > now + AHEAD:
            self.due = max((time for time in self.keys.values() if time <= now), default=now)


async def read_back(storage: Storage, chains: Chains) -> tuple[dict[UUID, Past], datetime | None]:
    """Return what the newest events tell of each trigger.

    :param chains: is told which runs began, and what led to them
    :return: and the time before which more happened than was read, if there was more
    """
    pasts: dict[UUID, Past] = {}
    found = await newest(storage, [CHANNEL], limit=READ_BACK)
    for event in found:
        past = pasts.setdefault(UUID(event["subject"].rpartition("/")[2]), Past(watched=None))
        _note(past, event)
        if run := event["data"].get("run"):
            chains.begun(UUID(run), behind(event["data"]))
    return pasts, moment(found[0]["time"]) if len(found) >= READ_BACK else None


async def read_back_all(storage: Storage, trigger: Resource) -> Past:
    """Return what is known of one trigger whose rule watches, however much happened since."""
    found: list[dict[str, Any]] = []
    query = EventQuery(channels=[CHANNEL], subject=subject(trigger), newest_first=True, limit=_PAGE)
    while True:
        page = await storage.read_events(query)
        read = [json.loads(text) for text in page.entries.values()]
        found += read
        last = moment(found[0]["time"]) if found else None
        if (
            not read
            or page.next == query.after
            or (last and moment(read[-1]["time"]) < last - WATCHED)
        ):
            break
        query = replace(query, after=page.next)
    past = Past(watched=True)
    for event in reversed(found):
        _note(past, event)
    return past


def _note(past: Past, event: Mapping[str, Any]) -> None:
    data = event["data"]
    if event["type"] not in (FIRED, MISSED, FAILED) or data.get("again"):
        return
    due = moment(data.get("due") or data["last"])
    if data["key"] is None:
        past.missed_to(due)
    else:
        past.add(data["key"], due)


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
        events = [json.loads(text) for text in [*page.entries.values()][: limit - looked]]
        new = [event for event in events if since is None or moment(event["time"]) >= since]
        found += filter(wanted, new)
        looked += len(events)
        # Some of those that were told later can have an older time, but hardly a page of them.
        if page.next == query.after or not new:
            break
        query = replace(query, after=page.next)
        await asyncio.sleep(0)
    return found[::-1]


def moment(text: str) -> datetime:
    """Return a time as it stands in events."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)
