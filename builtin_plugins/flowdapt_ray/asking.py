"""How the code of an order asks the server, from a process of Ray.

While the main thread of a task waits for Ray, Ray lends the processors of the task to others. So
that thread waits for the answer, whoever it was that asked.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import queue
import threading
from typing import Any

from flowdapt_workers.asking import Asked, Asks
from flowdapt_workers.failures import Interrupted

from flowdapt_ray.posting import Post

LOOK_SECONDS = 0.2  #: how long Ray may wait before it is looked whether the order is to end


class OrderAsks(Asks):
    """How the code of one order asks.

    :param post: takes its messages
    :param order: its number
    """

    def __init__(self, post: Post, order: int) -> None:
        super().__init__()
        self._post, self._order, self._pid = post, order, os.getpid()
        self._numbers = itertools.count(1)
        self._closed = False
        #: answers that others than the main thread wait for; nothing once it need not wait
        self._awaited: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def wait(self, asked: Asked) -> bytes:
        """Ask, and wait for Ray."""
        _, answer = self._ask(asked)
        if threading.current_thread() is threading.main_thread():
            self._wait_for(answer)
        if self._closed:
            raise Interrupted
        return self._got(answer)

    async def answer(self, asked: Asked) -> bytes:
        """Ask, while the main thread waits for Ray, if it has nothing else to do."""
        number, answer = self._ask(asked)
        self._awaited.put(answer)
        try:
            text: bytes = await asyncio.wrap_future(answer.future())
        except asyncio.CancelledError:
            self._post.send_of(self._order, "ask", number, None)
            raise
        return text

    def _ask(self, asked: Asked) -> tuple[int, Any]:
        if os.getpid() != self._pid:
            raise RuntimeError(
                "the server is asked by a stage, and not by processes that it starts"
            )
        number = next(self._numbers)
        self._post.send_of(self._order, "ask", number, asked)
        return number, self._post.answer(self._order, number)

    def _got(self, answer: Any) -> bytes:
        import ray

        text: bytes = ray.get(answer)
        return text

    def _wait_for(self, answer: Any) -> None:
        """Wait in the main thread, as long as there is no answer and the order goes on."""
        import ray

        while not self._closed:
            there, _ = ray.wait([answer], timeout=LOOK_SECONDS)
            if there:
                return

    def stand_by(self, done: threading.Event) -> None:
        """Wait in the main thread until what another thread computes is done."""
        while not done.is_set():
            answer = self._awaited.get()
            while answer is not None and not done.is_set():
                import ray

                there, _ = ray.wait([answer], timeout=LOOK_SECONDS)
                if there:
                    break

    def done(self) -> None:
        """Have the main thread wait no more."""
        self._awaited.put(None)

    def close(self) -> None:
        """Have the main thread wait no more, because the order is to end."""
        self._closed = True
