"""The event loop of a worker's async functions; it knows how much of the processor each takes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context, ContextVar
from time import thread_time
from typing import Any

_METER: ContextVar[Meter | None] = ContextVar("meter", default=None)


class MeteredLoop(asyncio.SelectorEventLoop):
    """Counts the processor time of its thread for whoever had it do something last.

    That is noted for every step of a task, so the clock is asked only where another one has its
    turn: a step costs a microsecond more, and two where they alternate.
    """

    def __init__(self) -> None:
        super().__init__()
        self._asked, self._at = thread_time(), Meter(self)

    def call_soon(  # type: ignore[override]  # the same, without a type variable for the arguments
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """Call something, and count it for whom the context belongs to."""
        meter = _METER.get() if context is None else context.get(_METER)
        if meter is not None:
            return super().call_soon(meter.call, callback, *args, context=context)
        return super().call_soon(callback, *args, context=context)

    def turn(self, meter: Meter) -> None:
        """Count what follows for another one."""
        now = thread_time()
        self._at.seconds += now - self._asked
        self._asked, self._at = now, meter

    def has_turn(self, meter: Meter) -> bool:
        """Tell whether it is counted for that one at present."""
        return self._at is meter


class Meter:
    """Who has an event loop do something, such as one attempt.

    All counts that is done in a context in which :meth:`begin` was called and in copies of it, as
    tasks have them that are started there.

    :ivar seconds: processor time that was counted so far
    """

    def __init__(self, loop: MeteredLoop, seconds: float = 0.0) -> None:
        self._loop, self.seconds = loop, seconds

    def begin(self) -> None:
        """Have what is done in this context counted."""
        _METER.set(self)

    def call(self, callback: Callable[..., object], *args: Any) -> None:
        """Call something that counts."""
        if not self._loop.has_turn(self):
            self._loop.turn(self)
        callback(*args)

    def end(self) -> float:
        """Return the seconds up to now; asked by something that counts."""
        self._loop.turn(self)
        return self.seconds
