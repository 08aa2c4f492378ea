"""Calls at certain times, of which there may be many: one sleep waits for the next one."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Generic, TypeVar

from flowdapt_triggers.clock import Clock, seconds_until

logger = logging.getLogger(__name__)

K = TypeVar("K")

AT_ONCE = 100  #: calls, until others in the event loop have their turn
OUTDATED = 100  #: times that were set to others since, and that are kept at least


class Timers(Generic[K]):
    """Calls with the keys whose times have come. A key has one time.

    :param call: gets the key and the time
    """

    def __init__(self, clock: Clock, call: Callable[[K, datetime], None]) -> None:
        self._clock, self._call = clock, call
        self._times: dict[K, datetime] = {}
        self._heap: list[tuple[datetime, int, K]] = []
        self._order = itertools.count()
        self._sooner = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to call."""
        self._task = asyncio.create_task(self._run(), name="timers")

    async def stop(self) -> None:
        """Call no more."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    def set(self, key: K, time: datetime | None) -> None:
        """Have a key called at a time, instead of the one that it had; without one, never."""
        if time is None:
            self._times.pop(key, None)
            return
        self._times[key] = time
        if len(self._heap) > 2 * len(self._times) + OUTDATED:
            self._heap = [entry for entry in self._heap if self._times.get(entry[2]) == entry[0]]
            heapq.heapify(self._heap)
        heapq.heappush(self._heap, (time, next(self._order), key))
        if self._heap[0][2] == key:
            self._sooner.set()

    def time(self, key: K) -> datetime | None:
        """Return when a key will be called."""
        return self._times.get(key)

    async def _run(self) -> None:
        while True:
            self._sooner.clear()
            self._drop_outdated()
            if self._heap:
                await self._sleep(self._heap[0][0])
            else:
                await self._sooner.wait()
            await self._call_those_due()

    def _drop_outdated(self) -> None:
        """Forget what stands first and was set to another time since."""
        while self._heap and self._times.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)

    async def _sleep(self, time: datetime) -> None:
        """Sleep until a time, or until there is an earlier one."""
        waits = [
            asyncio.ensure_future(self._clock.sleep(seconds_until(self._clock, time))),
            asyncio.ensure_future(self._sooner.wait()),
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def _call_those_due(self) -> None:
        count = 0
        while self._heap and self._heap[0][0] <= self._clock.now():
            time, _, key = heapq.heappop(self._heap)
            if self._times.get(key) == time:
                del self._times[key]
                try:
                    self._call(key, time)
                except Exception:  # the others are to be called all the same
                    logger.exception("what is due at %s was not called", time)
            count += 1
            if count % AT_ONCE == 0:
                await asyncio.sleep(0)
