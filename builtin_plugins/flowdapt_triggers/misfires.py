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
MOST_COUNTED = 10_000  #: missed times; of more it is only known that they were
MOST_SKIPPED = 1_000  #: the same, where none is made up and nothing but the number is to be known
AT_ONCE = 50  #: times that are looked at until others have their turn

_SPANS = [timedelta(**span) for span in ({"minutes": 1}, {"hours": 1}, {"days": 1}, {"days": 32})]
_MICROSECOND = timedelta(microseconds=1)


@dataclass
class Missed:
    """Times that are not made up.

    :param count: absent where they were too many to count
    """

    first: datetime
    last: datetime
    count: int | None = 1
    reason: str = "nobody was there, the clock was set, or too many waited"

    def add(self, other: Missed) -> None:
        """Count others, too."""
        self.first, self.last = min(self.first, other.first), max(self.last, other.last)
        known = self.count is not None and other.count is not None
        self.count = (self.count or 0) + (other.count or 0) if known else None


class Times:
    """The times of a rule that have come, looked at a few at once.

    They come in order, and all of them are accounted for: missed ones come together.

    :param after: times up to this one were seen to before
    :param window: times that are longer ago are not made up, whatever the policy
    """

    def __init__(
        self,
        rule: TimeRule,
        after: datetime,
        now: datetime,
        *,
        policy: Misfire,
        window: timedelta | None,
    ) -> None:
        self._rule, self._now, self._policy, self._window = rule, now, policy, window
        self._due = rule.due(after)
        self._missed: Missed | None = None

    def some(self) -> tuple[list[datetime | Missed], bool]:
        """Return what becomes of the next few: ones to fire for, or missed ones; and the end."""
        found: list[datetime | Missed] = []
        for _ in range(AT_ONCE):
            due = self._due
            if due is None or due > self._now:
                return found + ([self._missed] if self._missed else []), True
            self._due = self._rule.due(due)
            if self._fires(due, newest=self._due is None or self._due > self._now):
                found += [self._missed, due] if self._missed else [due]
                self._missed = None
            elif self._missed is None:
                self._missed = Missed(due, due)
            else:
                self._missed.add(Missed(due, due))
                self._pass_over(self._missed)
        return found, False

    def _fires(self, due: datetime, *, newest: bool) -> bool:
        policy, ago = self._policy, self._now - due
        if ago <= LATE and (newest or policy == "all"):
            return True
        if policy == "skip" or (self._window is not None and ago > self._window):
            return False
        return newest or policy == "all"

    def _pass_over(self, missed: Missed) -> None:
        """Go on shortly before the present, where more were missed than are counted."""
        most = MOST_SKIPPED if self._policy == "skip" else MOST_COUNTED
        if (missed.count or 0) < most or self._due is None:
            return
        wanted = self._window if self._policy == "all" else None
        for span in _SPANS if wanted is None else [wanted]:
            begin = max(self._due, self._now - span) - _MICROSECOND
            found = self._rule.due(begin)
            if found is not None and found <= self._now:
                if found > self._due:
                    missed.count, missed.last = None, max(missed.last, begin)
                self._due = found
                return


async def seen_to(times: Times, turn: asyncio.Lock) -> AsyncIterator[datetime | Missed]:
    """Yield what becomes of times that have come.

    :param turn: is taken for each look, so that many rules leave room for everything else
    """
    done = False
    while not done:
        async with turn:
            found, done = times.some()
            await asyncio.sleep(0)  # with the turn, or all would look at once
        for what in found:
            yield what
