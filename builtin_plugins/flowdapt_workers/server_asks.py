"""How a stage asks the server that it is computed in."""

from __future__ import annotations

import asyncio
from concurrent.futures import CancelledError, Future

from flowdapt.errors import RunCancelled
from flowdapt.executors import Ask, Call, Host
from flowdapt_workers.asking import NOBODY, Asked, Asks, answered
from flowdapt_workers.pool import Pool


class ServerAsks(Asks):
    """How the code of one attempt asks the server, whose event loop is in this process.

    :param pool: the threads that compute; absent where that is the thread of the loop
    """

    def __init__(self, host: Host, call: Call, attempt: int, pool: Pool | None) -> None:
        super().__init__()
        self._host, self._call, self._attempt, self._pool = host, call, attempt, pool
        self._loop = asyncio.get_running_loop()
        self._waiting: set[Future[bytes]] = set()
        self._closed = False

    def wait(self, asked: Asked) -> bytes:
        """Ask from a thread of the pool, which counts as none meanwhile."""
        if self._host.on_ask is None:
            return NOBODY
        if self._pool is None:
            raise RuntimeError(
                f"stage {self._call.stage!r} is computed in the thread that computes everything "
                "here, so nothing would come of waiting there: let its function be async, and "
                "await call_workflow_async, or choose another executor, such as local or threads"
            )
        waiting = asyncio.run_coroutine_threadsafe(self._lent(self._pool, asked), self._loop)
        return self._result(waiting)

    def _result(self, waiting: Future[bytes]) -> bytes:
        self._waiting.add(waiting)
        if self._closed:  # meanwhile
            waiting.cancel()
        try:
            return waiting.result()
        except CancelledError:
            raise RunCancelled() from None
        finally:
            self._waiting.discard(waiting)

    async def _lent(self, pool: Pool, asked: Asked) -> bytes:
        if not asked.idle:
            return await self._asked(asked)
        pool.give()
        try:
            return await self._asked(asked)
        finally:
            pool.take_back()

    async def answer(self, asked: Asked) -> bytes:
        """Ask from a task, of this event loop or of one in a thread."""
        if asyncio.get_running_loop() is self._loop:
            return await self._asked(asked)
        work = self._asked(asked) if self._pool is None else self._lent(self._pool, asked)
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    async def _asked(self, asked: Asked) -> bytes:
        if self._closed:  # no thread can be stopped from outside, and this one went on
            raise RunCancelled()
        about = self._call.run, self._call.stage, asked.item, self._attempt, asked.about
        return await answered(self._host, Ask(asked.kind, *about))

    def close(self) -> None:
        """Have no thread wait any more, nor ask."""
        self._closed = True
        for waiting in list(self._waiting):
            waiting.cancel()
