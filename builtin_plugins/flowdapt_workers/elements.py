"""The elements of a list that are to be computed, some of them more than once."""

from __future__ import annotations

import asyncio
import heapq
import time
from collections import deque
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from flowdapt.executors import Handle, MapCall, Outcome
from flowdapt_workers.functions import check_count, elements_of


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


class MapHandle(Handle):
    """A mapped call, and which elements its results are of."""

    def __init__(self, outcome: asyncio.Future[Outcome], places: Sequence[int]) -> None:
        super().__init__(outcome)
        self.places = places


async def numbered(call: MapCall) -> Sequence[tuple[int, Any]]:
    """Return the elements to compute, each with its place."""
    over: Any = call.over
    places: Sequence[int] | None = None
    if isinstance(over, MapHandle):
        over, places = (await over.outcome).ref, over.places
    elif call.takes_input or call.map_on:
        over = elements_of(call)
    if not isinstance(over, Iterable):
        raise ValueError(f"stage {call.stage!r} maps over a result that is no list")
    elements = list(over)
    # If not as many, a stage beside this one changed the list meanwhile.
    if places is not None and len(places) == len(elements):
        wanted = {*(places if call.only is None else call.only.items)}
        return [pair for pair in zip(places, elements, strict=True) if pair[0] in wanted]
    check_count(call, len(elements))
    chosen = range(len(elements)) if call.only is None else call.only.items
    return [(place, elements[place]) for place in chosen]


async def gathered(*work: Coroutine[Any, Any, Any], return_exceptions: bool) -> list[Any]:
    """Do what ``asyncio.gather`` does; but if one of them raises, the others are cancelled."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        return await asyncio.gather(*tasks, return_exceptions=return_exceptions)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        raise
