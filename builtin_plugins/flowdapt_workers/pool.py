"""Threads that compute stages, no more than a number of them at once but for those that wait."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from heapq import heappop, heappush
from typing import ParamSpec, TypeVar

MOST_THREADS = 10_000  #: with those that wait for what others compute

P = ParamSpec("P")
T = TypeVar("T")


class Pool(ThreadPoolExecutor):
    """A pool of threads; who submits something takes a place first.

    :param places: how many compute at once
    """

    def __init__(self, places: int) -> None:
        super().__init__(MOST_THREADS, "flowdapt-stage")
        self._loop = asyncio.get_running_loop()
        self._free = places
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()

    async def take(self, priority: int = 0) -> None:
        """Wait for a place, for what is submitted at once.

        :param priority: higher goes first
        """
        if self._free > 0:
            self._free -= 1
            return
        turn: asyncio.Future[None] = self._loop.create_future()
        heappush(self._waiting, (-priority, next(self._numbers), turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give()
            raise

    def give(self) -> None:
        """Let others have the place of a thread that waits for what they compute."""
        self._free += 1
        while self._waiting and self._free > 0:
            *_, turn = heappop(self._waiting)
            if not turn.done():
                self._free -= 1
                turn.set_result(None)

    def take_back(self) -> None:
        """Go on in a place that was given; there may be more of them in use then, for a while."""
        self._free -= 1

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have a function called in a thread; its place is free once it has ended."""
        future = super().submit(fn, *args, **kwargs)
        future.add_done_callback(lambda _: self._tell(self.give))
        return future

    def _tell(self, what: Callable[[], None]) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(what)
