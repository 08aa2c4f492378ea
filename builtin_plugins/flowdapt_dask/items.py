"""What generators yield, on its way from the processes of a Dask worker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence


class Items:
    """Items of one order: those that come at once are told together, and none waits for more.

    :param tell: is given the number of the first, and the texts
    """

    def __init__(self, tell: Callable[[int, Sequence[bytes]], None]) -> None:
        self._tell, self._first = tell, 0
        self._texts: list[bytes] = []

    def take(self, number: int, text: bytes) -> None:
        """Have an item told, with those that lie in the socket behind it."""
        if not self._texts:
            self._first = number
            asyncio.get_running_loop().call_soon(self.flush)
        self._texts.append(text)

    def flush(self) -> None:
        """Tell what there is."""
        if self._texts:
            texts, self._texts = self._texts, []
            self._tell(self._first, texts)
