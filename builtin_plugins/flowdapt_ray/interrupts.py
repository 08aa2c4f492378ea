"""How a stage in a process of Ray is stopped when its run is cancelled.

Ray lets the main thread find out, the next time it executes Python, that it was interrupted; what
waits in the system (a sleep, a lock, a socket) is not woken. Python tells a descriptor of such an
event at once, so a thread that reads it can send the main thread a signal, which does wake it.

Ray interrupts once. What is computed is told that it is to stop, and interrupted a moment later.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from traceback import walk_tb
from typing import Any

from flowdapt_workers.failures import Interrupted

GRACE_SECONDS = 0.25  #: how long a function that is told to stop may take before it is interrupted
WAKING = signal.SIGURG  #: without effect but that what waits goes on; nobody else has use for it


class Interrupts:
    """Takes over how this process is interrupted; made in the main thread."""

    def __init__(self) -> None:
        self._interrupt: Callable[[], None] | None = None
        self._main = threading.main_thread().ident
        self._told, self._tell = socket.socketpair()
        self._tell.setblocking(False)
        signal.signal(signal.SIGINT, self._interrupted)
        signal.signal(WAKING, lambda *_: None)
        threading.Thread(target=self._wake, daemon=True, name="interrupts").start()

    def _wake(self) -> None:
        while numbers := self._told.recv(64):
            if signal.SIGINT in numbers and self._main is not None:
                signal.pthread_kill(self._main, WAKING)

    def _interrupted(self, *_: Any) -> None:
        """Stop what may be stopped now; between two orders nothing may."""
        interrupt, self._interrupt = self._interrupt, None
        if isinstance(interrupt, _Following) and not interrupt.due:  # Ray may do it twice
            self._interrupt = interrupt
        elif interrupt is not None:
            interrupt()

    @contextmanager
    def _by(self, interrupt: Callable[[], None]) -> Iterator[None]:
        signal.set_wakeup_fd(self._tell.fileno(), warn_on_full_buffer=False)  # a stage may have own
        self._interrupt = interrupt
        try:
            yield
        finally:
            self._interrupt = None

    def raised(self, tell: Callable[[], None] | None = None) -> Any:
        """Have an interruption raise :class:`Interrupted` in what is in this context.

        :param tell: is called at once, and it is raised a moment later
        """
        return self._by(_raise if tell is None else lambda: self._tell_first(tell))

    def _tell_first(self, tell: Callable[[], None]) -> None:
        """Tell what is computed to stop, and raise once it had the time to."""
        tell()
        self._interrupt = following = _Following()
        threading.Timer(GRACE_SECONDS, self._interrupt_again, (following,)).start()

    def _interrupt_again(self, following: _Following) -> None:
        if self._interrupt is following and self._main is not None:
            following.due = True
            signal.pthread_kill(self._main, signal.SIGINT)

    def cancelling(
        self,
        loop: asyncio.AbstractEventLoop,
        stop: Callable[[], object],
        tell: Callable[[], None] = lambda: None,
    ) -> Any:
        """Have it stop something in an event loop instead, whatever that waits for.

        :param stop: is called in the loop
        :param tell: is called before that
        """

        def cancel() -> None:
            tell()
            loop.call_soon_threadsafe(stop)

        return self._by(cancel)


def broke_an_import(error: BaseException) -> bool:
    """Tell whether an interruption came out of an import: halves of modules stay behind."""
    chain: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and following not in chain:
        chain.append(following)
        following = following.__cause__ or following.__context__
    if not any(isinstance(one, Interrupted) for one in chain):
        return False
    frames = (frame for one in chain for frame, _ in walk_tb(one.__traceback__))
    return any(frame.f_code.co_filename.startswith("<frozen importlib") for frame in frames)


def _raise() -> None:
    raise Interrupted


class _Following:
    """What an interruption does that follows another one, once it is due."""

    due = False

    def __call__(self) -> None:
        raise Interrupted
