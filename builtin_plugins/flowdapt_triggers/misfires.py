"""Times that passed while nobody was there: which of them are made up, and how many are not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowdapt.triggers import TimeRule
    from flowdapt_triggers.resource import Misfire

LATE = timedelta(seconds=5)  #: a time that is not longer ago is not missed, only late
MOST_COUNTED = 100_000  #: missed times; of more it is only known that they were
AT_ONCE = 200  #: times that are looked at until others have their turn

_SPANS = [timedelta(**span) for span in ({"minutes": 1}, {"hours": 1}, {"days": 1}, {"days": 32})]


@dataclass
class Missed:
    """Times that are not made up.

    :param count: absent where they were too many to count
    """

    first: datetime
    last: datetime
    count: int | None = 1

    def also(self, due: datetime) -> None:
        """Count one more."""
        self.last = due
        self.count = None if self.count is None else self.count + 1


async def seen_to(
    rule: TimeRule,
    after: datetime,
    now: datetime,
    *,
    policy: Misfire,
    window: timedelta | None,
) -> AsyncIterator[datetime | Missed]:
    """Yield what becomes of the times of a rule that have come: one to fire for, or missed ones.

    They come in order, and all of them are accounted for: missed ones are yielded together.

    :param after: times up to this one were seen to before
    :param window: times that are longer ago are not made up, whatever the policy
    """
    missed: Missed | None = None
    due, looked = rule.due(after), 0
    while due is not None and due <= now:
        following = rule.due(due)
        newest = following is None or following > now
        if _fires(due, now, newest=newest, policy=policy, window=window):
            if missed is not None:
                yield missed
                missed = None
            yield due
        elif missed is None:
            missed = Missed(due, due)
        else:
            missed.also(due)
        due, looked = following, looked + 1
        if looked % AT_ONCE == 0:
            await asyncio.sleep(0)
        if missed is not None and (missed.count or 0) >= MOST_COUNTED and due is not None:
            missed.count = None
            due = _shortly_before(rule, due, now)
    if missed is not None:
        yield missed


def _fires(
    due: datetime, now: datetime, *, newest: bool, policy: Misfire, window: timedelta | None
) -> bool:
    if now - due <= LATE and (newest or policy == "all"):
        return True
    if policy == "skip" or (window is not None and now - due > window):
        return False
    return newest or policy == "all"


def _shortly_before(rule: TimeRule, due: datetime, now: datetime) -> datetime:
    """Return a time of the rule that has only few others between it and the present."""
    for span in _SPANS:
        found = rule.due(max(due, now - span))
        if found is not None and found <= now:
            return found
    return due
