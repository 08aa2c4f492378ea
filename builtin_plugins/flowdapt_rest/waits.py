"""Requests that wait for something to happen, and are let go when the server stops."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from flowdapt.errors import ServerError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

_T = TypeVar("_T")


class Waits:
    """All that requests wait for at present."""

    def __init__(self) -> None:
        self._open: set[asyncio.Timeout] = set()
        self._told: set[Callable[[], None]] = set()
        self.over = False  #: whether the server stops

    async def until(self, what: Awaitable[_T], *, called: str) -> _T:
        """Return what ``what`` returns.

        :param called: names it in the error
        :raises ServerError: the server stops first
        """
        patience = asyncio.timeout(0 if self.over else None)
        self._open.add(patience)
        try:
            async with patience:
                return await what
        except TimeoutError:
            if not patience.expired():
                raise
            raise ServerError(f"the server stops, and {called} has not ended") from None
        finally:
            self._open.discard(patience)

    @contextmanager
    def told(self, callback: Callable[[], None]) -> Iterator[None]:
        """Have ``callback`` called when the server stops, for waits that notice by themselves."""
        self._told.add(callback)
        try:
            yield
        finally:
            self._told.discard(callback)

    def end(self) -> None:
        """Let go of all, and of whoever comes later."""
        self.over = True
        for patience in self._open:
            patience.reschedule(asyncio.get_running_loop().time())
        for callback in tuple(self._told):
            callback()
