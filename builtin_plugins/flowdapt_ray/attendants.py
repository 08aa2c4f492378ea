"""A thread that calls Ray where that may take long, so that nothing else waits meanwhile."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class Attendant:
    """Calls functions one after another.

    It is one thread and lives as long as the process, because the processes that Ray starts end
    with the thread that started them. The interpreter does not wait for it where a call hangs.
    """

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        threading.Thread(target=self._serve, daemon=True, name="ray").start()

    def _serve(self) -> None:
        while True:
            self._calls.get()()

    async def call(self, function: Callable[[], T]) -> T:
        """Call a function there and return what it does; raises what it raises."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()

        def work() -> None:
            try:
                result = function()
            except BaseException as error:  # whoever asked is to have it, whatever it is
                caught = error
                _tell(loop, lambda: None if answer.done() else answer.set_exception(caught))
            else:
                _tell(loop, lambda: None if answer.done() else answer.set_result(result))

        self._calls.put(work)
        return await answer


def _tell(loop: asyncio.AbstractEventLoop, done: Callable[[], object]) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(done)
