"""Which elements a mapped call has, and what becomes of each."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from flowdapt.executors import FAILURES_KEPT, Handle, MapCall, Outcome, Progress, StageFailed
from flowdapt_workers.functions import check_count, elements_of
from flowdapt.runs import FailedItem, Failure
from flowdapt_workers.functions import brief


class MapHandle(Handle):
    """A mapped call; once it is done, ``places`` says which elements its results are of."""

    def __init__(self, outcome: asyncio.Future[Outcome], places: Sequence[int]) -> None:
        super().__init__(outcome)
        self.places = places


async def numbered(call: MapCall) -> Sequence[tuple[int, Any]]:
    """Return the elements to compute, each with its place in the first list that was mapped over.

    Elements that failed on the way are left out, and the others keep their places.
    """
    over: Any = call.over
    places: Sequence[int] | None = None
    if isinstance(over, MapHandle):
        over, places = (await over.outcome).ref, over.places
    elif call.takes_input or call.map_on:
        over = elements_of(call)
    if not isinstance(over, Iterable):
        raise ValueError(f"stage {call.stage!r} maps over a result that is no list")
    elements = list(over)
    if places is not None:
        return list(zip(places, elements, strict=True))
    check_count(call, len(elements))
    chosen = range(len(elements)) if call.only is None else call.only.items
    return [(place, elements[place]) for place in chosen]


@dataclass
class Results:
    """What is known of the elements that are done."""

    call: MapCall
    values: list[Any] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    failed: list[FailedItem] = field(default_factory=list)

    def take(self, place: int, answer: Any, places: list[int]) -> None:
        """Note what came of an element; what is no failure of the stage itself is raised."""
        if isinstance(answer, StageFailed):
            context = self.call.context.at(self.call.stage, place)
            self.failed.append(brief(answer.exception or answer, context))
            if len(self.failures) < FAILURES_KEPT:
                self.failures.append(answer.failure)
        elif isinstance(answer, BaseException):
            raise answer
        else:
            self.values.append(answer)
            places.append(place)

    def progress(self, count: int) -> Progress:
        """Return how far it is, of so many elements."""
        failed, done = len(self.failed), len(self.values) + len(self.failed)
        return Progress(
            self.call.run, self.call.stage, items=count, items_done=done, items_failed=failed
        )

    def outcome(self) -> Outcome:
        """Return them all."""
        return Outcome(
            self.values,
            items=len(self.values) + len(self.failed),
            items_failed=len(self.failed),
            failures=tuple(self.failures),
            failed_items=tuple(self.failed),
        )


async def gathered(work: Iterable[Coroutine[Any, Any, Any]], *, partial: bool) -> list[Any]:
    """Return what comes of each; unless ``partial``, one that raises has the others cancelled."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        return await asyncio.gather(*tasks, return_exceptions=partial)
    except BaseException:
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        raise
