"""How long a function may take that is computed in this process, from where nothing is killed."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flowdapt_workers.attempts import Attempts, Trial

STOP_SECONDS = 0.5  #: how long a function is waited for that was told to end


@dataclass(frozen=True, slots=True)
class Limit:
    """The time of one attempt.

    :param trial: is told when it is over
    :param late: what is raised then
    """

    seconds: float
    trial: Trial
    late: TimeoutError

    @classmethod
    def of(cls, attempts: Attempts, trial: Trial, stage: str, item: int | None) -> Limit | None:
        """Return the limit of an attempt, if there is one."""
        if attempts.timeout is None:
            return None
        return cls(attempts.timeout, trial, attempts.late(stage, item))

    def called(self, work: Callable[[], Any]) -> Any:
        """Call a function in this thread, which nobody can take away from it meanwhile.

        :raises TimeoutError: it took longer, and has ended
        """
        alarm = threading.Timer(self.seconds, self.trial.cancel)
        alarm.daemon = True
        alarm.start()
        end = time.monotonic() + self.seconds
        try:
            result = work()
        except Exception as error:
            if time.monotonic() > end:
                raise self.late from error
            raise
        finally:
            alarm.cancel()
        if time.monotonic() > end:
            raise self.late
        return result

    async def elsewhere(
        self, called: Callable[[Callable[[], Any]], asyncio.Future[Any]], work: Callable[[], Any]
    ) -> Any:
        """Have a function called beside the event loop; the time begins when that begins.

        :param called: has it called, such as in a thread of a pool
        :raises TimeoutError: it took longer, and perhaps goes on in its thread
        """
        loop, begun = asyncio.get_running_loop(), asyncio.Event()

        def begin() -> Any:
            loop.call_soon_threadsafe(begun.set)
            return work()

        computing = called(begin)
        try:
            await begun.wait()
        finally:
            if not begun.is_set():
                computing.cancel()
        return await self.awaited(computing)

    async def awaited(self, computing: asyncio.Future[Any]) -> Any:
        """Wait for what is computed.

        :raises TimeoutError: it took longer; where it does not end it is left alone
        """
        try:
            await asyncio.wait([computing], timeout=self.seconds)
            if computing.done():
                return computing.result()
            self.trial.cancel()
            raise self.late
        finally:
            if not computing.done():
                if isinstance(computing, asyncio.Task):  # a thread ends by itself, or never
                    computing.cancel()
                computing.add_done_callback(_look_at)
                await asyncio.wait([computing], timeout=STOP_SECONDS)


def _look_at(ended: asyncio.Future[Any]) -> None:
    """Take note of an exception that nobody else is interested in."""
    if not ended.cancelled():
        ended.exception()
