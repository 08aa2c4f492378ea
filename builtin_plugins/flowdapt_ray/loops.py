"""Async work of an order, in an event loop that another thread runs."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any

from flowdapt_workers.calls import Done


class Doing:
    """Work that is done in an event loop.

    :param variables: that it sees
    :param ended: is called once it is done, in the thread of the loop
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        work: Coroutine[Any, Any, Done],
        variables: Context,
        ended: Callable[[], None],
    ) -> None:
        self._loop, self._work, self._then = loop, work, ended
        self._task: asyncio.Task[Done]
        self.done = threading.Event()
        self.cpu_seconds = 0.0  #: that it took, once it is done
        loop.call_soon_threadsafe(self._begin, context=variables)

    def _begin(self) -> None:
        self.cpu_seconds = -time.thread_time()
        self._task = self._loop.create_task(self._work)
        self._task.add_done_callback(self._ended)

    def _ended(self, _: object) -> None:
        self.cpu_seconds += time.thread_time()
        self.done.set()
        self._then()

    def cancel(self) -> None:
        """Cancel it; called in the thread of the loop."""
        self._task.cancel()

    def result(self) -> Done:
        """Return what it came to, or raise it."""
        return self._task.result()
