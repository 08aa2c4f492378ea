"""A clock that tests set, for everything that goes by time."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from datetime import UTC, datetime, timedelta

TURNS = 200  #: of the event loop, in which whoever woke does what it woke for


class SimulatedClock:
    """Tells a time that stands still until somebody moves it; whoever sleeps wakes in order.

    :param start: the time that it tells first
    """

    def __init__(self, start: datetime = datetime(2031, 4, 5, tzinfo=UTC)) -> None:
        self._now, self._slept = start, timedelta(0)
        self._sleepers: list[tuple[timedelta, int, asyncio.Future[None]]] = []
        self._order = itertools.count()
        self.sleeps = 0  #: how often somebody began to sleep

    def now(self) -> datetime:
        """Return the time."""
        return self._now

    async def sleep(self, seconds: float) -> None:
        """Sleep until the clock was moved so far."""
        self.sleeps += 1
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        end = self._slept + timedelta(seconds=seconds)
        heapq.heappush(self._sleepers, (end, next(self._order), woken))
        await woken

    async def advance(self, seconds: float) -> None:
        """Let time pass, and whoever wakes meanwhile do what it woke for."""
        end = self._slept + timedelta(seconds=seconds)
        await settled()
        while self._sleepers and self._sleepers[0][0] <= end:
            self._move(self._sleepers[0][0])
            while self._sleepers and self._sleepers[0][0] <= self._slept:
                _, _, woken = heapq.heappop(self._sleepers)
                if not woken.done():
                    woken.set_result(None)
            await settled()
        self._move(end)
        await settled()

    def _move(self, slept: timedelta) -> None:
        self._now += slept - self._slept
        self._slept = slept

    def set(self, time: datetime) -> None:
        """Set the clock, as somebody does who corrects it: nobody wakes for that."""
        self._now = time


async def settled() -> None:
    """Let everything go on that does not wait for anything outside of the event loop."""
    for _ in range(TURNS):
        await asyncio.sleep(0)
