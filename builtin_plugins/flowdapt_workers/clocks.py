"""How long the call of a function takes, and of a processor."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


class Clock:
    """How long a function takes, from now on or from when a thread calls it.

    :ivar cpu_seconds: processor time of the thread, once the function has ended
    """

    def __init__(self) -> None:
        self.cpu_seconds: float | None
        self._begun, self.cpu_seconds = time.perf_counter(), None

    @property
    def seconds(self) -> float:
        """How long that is so far."""
        return time.perf_counter() - self._begun

    def started_by(self, work: Callable[..., Any]) -> Callable[..., Any]:
        """Return the same function, which starts the clock when it is called."""

        def started(*args: Any) -> Any:
            self._begun, cpu = time.perf_counter(), time.thread_time()
            try:
                return work(*args)
            finally:
                self.cpu_seconds = time.thread_time() - cpu

        return started
