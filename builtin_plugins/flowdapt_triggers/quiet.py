"""What waits until nothing more happens for a while, so that many events fire a trigger once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

from flowdapt_triggers.clock import Clock

K = TypeVar("K")
V = TypeVar("V")


class Quiet(Generic[K, V]):
    """Passes on the last value of each key, once no other came for it during some seconds.

    :param call: gets the key and the value
    """

    def __init__(self, clock: Clock, call: Callable[[K, V], None]) -> None:
        self._clock, self._call = clock, call
        self._waiting: dict[K, tuple[V, asyncio.Task[None]]] = {}

    def wait(self, key: K, value: V, seconds: float) -> None:
        """Have a value wait in place of the one before."""
        self.drop(key)
        self._waiting[key] = value, asyncio.create_task(self._pass_on(key, seconds))

    def drop(self, key: K) -> V | None:
        """Return the value that waits, if one does, and do nothing for it."""
        value, task = self._waiting.pop(key, (None, None))
        if task is not None:
            task.cancel()
        return value

    def stop(self) -> None:
        """Pass on nothing more."""
        for key in list(self._waiting):
            self.drop(key)

    async def _pass_on(self, key: K, seconds: float) -> None:
        await self._clock.sleep(seconds)
        value, _ = self._waiting.pop(key)
        self._call(key, value)
