"""The elements of a list that are to be computed, some of them more than once."""

from __future__ import annotations

import asyncio
import heapq
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Element:
    """An element that is to be computed.

    :param place: its index in the list
    :param attempt: from 1
    """

    place: int
    value: Any
    attempt: int = 1


class Waiting:
    """Elements that wait, each until its pause is over; new ones do not wait for those.

    :param numbered: elements with their places
    """

    def __init__(self, numbered: Sequence[tuple[int, Any]]) -> None:
        self._new = deque(Element(place, value) for place, value in numbered)
        self._again: list[tuple[float, int, Element]] = []

    def __len__(self) -> int:
        return len(self._new) + len(self._again)

    def add(self, element: Element, pause: float) -> None:
        """Have an element be computed again after a pause."""
        heapq.heappush(self._again, (time.monotonic() + pause, element.place, element))

    async def take(self, most: int) -> list[Element]:
        """Return the next elements; none if there are no more."""
        if self._again and not self._new:
            await asyncio.sleep(self._pause())
        taken: list[Element] = []
        while self._again and len(taken) < most and (self._pause() <= 0 or self._only(taken)):
            taken.append(heapq.heappop(self._again)[2])
        while self._new and len(taken) < most:
            taken.append(self._new.popleft())
        return taken

    def _only(self, taken: list[Element]) -> bool:
        """Tell whether there is nothing else, though it is too early by what a clock is wrong."""
        return not taken and not self._new

    def _pause(self) -> float:
        return self._again[0][0] - time.monotonic()
