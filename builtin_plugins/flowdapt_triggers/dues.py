"""Triggers that go by time: when each is due, and what becomes of times that passed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from uuid import UUID

from flowdapt.resources import timestamp
from flowdapt.triggers import Occasion, TimeRule
from flowdapt_triggers.clock import Clock
from flowdapt_triggers.lanes import Lane, Waiting
from flowdapt_triggers.lives import Live
from flowdapt_triggers.misfires import LATE, Missed, Times, seen_to
from flowdapt_triggers.timers import Timers

logger = logging.getLogger(__name__)

_MICROSECOND = timedelta(microseconds=1)


class Dues:
    """Has triggers fire when they are due.

    :param lane: returns the lane of a trigger
    :param problem: is told why a trigger is due no more
    """

    def __init__(
        self, clock: Clock, lane: Callable[[UUID], Lane], problem: Callable[[UUID, str], None]
    ) -> None:
        self._clock, self._lane, self._problem = clock, lane, problem
        self._timers = Timers[UUID](clock, self._on_time)
        self._catching: dict[UUID, asyncio.Task[None]] = {}
        self._turn = asyncio.Lock()

    def start(self) -> None:
        """Begin to look at the time."""
        self._timers.start()

    async def stop(self) -> None:
        """Have nothing fire any more."""
        await self._timers.stop()
        for task in self._catching.values():
            task.cancel()

    def add(self, live: Live, rule: TimeRule) -> None:
        """Have a trigger fire when it is due, from the time on up to which it was seen to."""
        self._timers.set(live.uid, self._following(live, rule, live.seen_to(self._clock.now())))

    def remove(self, uid: UUID, live: Live) -> Missed | None:
        """Have it fire no more; return what it was about to be told, if it was not there."""
        self._timers.set(uid, None)
        task = self._catching.pop(uid, None)
        if task is None:
            return None
        task.cancel()
        now = self._clock.now()
        return Missed(live.seen_to(now), now, None)

    def time(self, uid: UUID) -> datetime | None:
        """Return when a trigger is due, where that is known."""
        return self._timers.time(uid)

    def _on_time(self, uid: UUID, due: datetime) -> None:
        live, now = self._lane(uid).live, self._clock.now()
        assert isinstance(live.rule, TimeRule)  # noqa: S101 - others are never timed
        following = self._following(live, live.rule, due)
        if now - due <= LATE and (following is None or following > now):
            self._take(live, due)
            self._timers.set(uid, following)
        else:
            self._catching[uid] = asyncio.create_task(self._catch_up(live, live.rule, due))

    def _take(self, live: Live, what: datetime | Missed) -> None:
        live.taken = what.last if isinstance(what, Missed) else what
        self._lane(live.uid).take(Waiting(what if isinstance(what, Missed) else _at(what)))

    def _following(self, live: Live, rule: TimeRule, after: datetime) -> datetime | None:
        """Return when a rule is due next; one that cannot say is never due, and harms no other."""
        try:
            return rule.due(after)
        except Exception as error:
            self._problem(live.uid, f"it cannot say when it is due: {_said(error)}")
            logger.exception("trigger %r is never due any more", live.resource.name)
            return None

    async def _catch_up(self, live: Live, rule: TimeRule, due: datetime) -> None:
        """See to times that came while nobody was there, or while the clock was set forward."""
        now, policy = self._clock.now(), live.resource.spec.misfire
        try:
            times = Times(rule, due - _MICROSECOND, now, policy=policy, window=live.window)
            async for what in seen_to(times, self._turn):
                self._take(live, what)
                await self._lane(live.uid).room()
        except Exception as error:
            self._problem(live.uid, f"it cannot say when it was due: {_said(error)}")
            logger.exception("trigger %r", live.resource.name)
        self._catching.pop(live.uid, None)
        self._timers.set(live.uid, self._following(live, rule, now))


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _at(due: datetime) -> Occasion:
    """Return the occasion that a time is."""
    text = timestamp(due)
    event = {"type": "com.event.trigger.due", "time": text, "source": "trigger", "data": None}
    return Occasion(text, due, event)
