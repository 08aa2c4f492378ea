"""The elements of a list that are to be computed, some of them more than once."""

from __future__ import annotations

import asyncio
import heapq
import time
from collections import deque
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from flowdapt.executors import Handle, MapCall, Outcome
from flowdapt.runs import FailedItem, Failure
from flowdapt_workers.attempts import Trial
from flowdapt_workers.functions import check_count, elements_of
from flowdapt_workers.tallies import Tally


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


@dataclass
class Account:
    """What is known of a call while it is computed.

    :param items: how many elements it has, if it is a mapped one
    :param results: of elements, by their places
    :param failures: of elements that are left out, the first few of them
    :param failed: all of them
    :param cpu_seconds: absent where the function is async, as others have their turns meanwhile
    """

    items: int | None = None
    results: dict[int, Any] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    failed: list[FailedItem] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)
    cpu_seconds: float | None = None

    def add(self, trial: Trial) -> None:
        """Count what an attempt took of the processor."""
        if trial.cpu_seconds is not None:
            self.cpu_seconds = (self.cpu_seconds or 0.0) + trial.cpu_seconds

    def facts(self) -> dict[str, Any]:
        """Return it as a stage's record has it."""
        known: dict[str, Any] = {"cpu_seconds": self.cpu_seconds}
        if self.items is None:
            return known
        return known | {
            "items": self.items,
            "items_done": len(self.results) + len(self.failed),
            "items_failed": len(self.failed),
            "failures": tuple(self.failures),
            "failed_items": tuple(sorted(self.failed)),
            "elements": self.tally.pack(),
        }


class MapHandle(Handle):
    """A call, and which elements its results are of."""

    def __init__(self, outcome: asyncio.Future[Outcome], account: Account) -> None:
        super().__init__(outcome)
        self._account = account

    @property
    def places(self) -> Sequence[int]:
        """Of a mapped call, the indexes of the elements that its results are of."""
        return sorted(self._account.results)

    def facts(self) -> dict[str, Any]:
        """Return how far the call came."""
        return self._account.facts()


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
