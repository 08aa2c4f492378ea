"""What waits to be computed: calls as a whole, and mapped stages chunk by chunk."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from flowdapt.errors import WorkerLost
from flowdapt.executors import FAILURES_KEPT, LOST_ATTEMPTS, Call, Handle, MapCall, Outcome
from flowdapt.resources import now, timestamp
from flowdapt.runs import FailedItem, Failure
from flowdapt_workers.calls import Done, Piece, Task, Value
from flowdapt_workers.parts import Held
from flowdapt_workers.processes import Kind
from flowdapt_workers.uses import Use

ASYNC_AT_ONCE = 256  #: elements of async stages that wait in one worker at once


@dataclass(slots=True)
class Unit:
    """What one message asks a worker to compute.

    :param piece: absent for a call as a whole
    :param attempt: from 1; counts the workers that died over it
    :param at_once: it is computed in the worker's main thread, which does nothing else meanwhile
    """

    job: Job
    piece: Piece | None = None
    order: tuple[int, ...] = ()
    start: int = 0
    count: int = 1
    attempt: int = 1
    at_once: bool = True
    deferred: bool = False


class Job(ABC):
    """Something to be computed.

    :param wanted: resources of one unit
    :param number: under which workers know a mapped stage
    """

    def __init__(
        self,
        call: Call,
        task: Task,
        kind: Kind,
        wanted: Mapping[str, float],
        *,
        number: int = 0,
    ) -> None:
        self.call, self.task, self.kind, self.wanted = call, task, kind, wanted
        self.number = number
        self.outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self.attempts = 1
        self.worker: str | None = None
        self.began: dict[str, str] | None = None  #: an attempt of which nobody was told yet
        self.use = Use.of(wanted.get("gpus", 0.0), task.args)
        self.is_async = False
        #: what an async function keeps while it waits: all but the processor
        self.held = {name: amount for name, amount in wanted.items() if name != "cpus"}

    @abstractmethod
    def waiting(self) -> bool:
        """Tell whether there is a unit to be given to a worker now."""

    @abstractmethod
    def next(self, workers: int) -> Unit:
        """Return the next unit; there is one.

        :param workers: how many compute at once, for the size of chunks
        """

    @abstractmethod
    def done(self, unit: Unit, done: Done, json: Any = None) -> None:
        """Note the answer to a unit.

        :param json: the text of the result, of a final call
        """

    @property
    def holds_results(self) -> bool:
        """Whether some of what it has computed so far is with a cluster."""
        return False

    def failed(self, error: BaseException) -> None:
        """End in an error; what comes afterwards is ignored."""
        if not self.outcome.done():
            self.outcome.set_exception(error)
            self.outcome.exception()  # whoever waited may have gone, which is no fault

    @abstractmethod
    def returned(self, unit: Unit) -> None:
        """Take back a unit that nobody computes any more, and nobody is at fault."""

    @abstractmethod
    def lost(self, unit: Unit, cause: str) -> None:
        """Note that the worker died that had this unit."""

    @property
    def over(self) -> bool:
        """Whether nobody waits for the outcome any more."""
        return self.outcome.done()


class Single(Job):
    """A call that is computed as a whole."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._unit: Unit | None = Unit(self)

    def waiting(self) -> bool:
        """Tell whether the call is yet to be given to a worker."""
        return self._unit is not None

    def next(self, workers: int) -> Unit:
        """Return the call."""
        del workers
        unit, self._unit = self._unit, None
        assert unit is not None  # noqa: S101 - the caller asked waiting()
        return unit

    def done(self, unit: Unit, done: Done, json: Any = None) -> None:
        """End with the result."""
        if not self.outcome.done():
            self.use.add(done)
            self.outcome.set_result(
                Outcome(
                    done.value,
                    json=json,
                    stored=done.value.part if isinstance(done.value.part, bytes) else None,
                    attempts=unit.attempt,
                    worker=self.worker,
                    cpu_seconds=done.cpu_seconds,
                    used=self.use.told(),
                    result_bytes=done.value.size,
                )
            )

    def returned(self, unit: Unit) -> None:
        """Wait for another one who computes it."""
        self._unit = unit

    def lost(self, unit: Unit, cause: str) -> None:
        """Try again, or fail once it was tried often enough."""
        if unit.attempt >= LOST_ATTEMPTS:
            self.failed(WorkerLost(self.call.stage, cause, unit.attempt))
        else:
            unit.attempt += 1
            self.attempts, self.worker = unit.attempt, None
            unit.deferred, unit.at_once = False, True
            self._unit = unit


@dataclass(slots=True)
class _Cut:
    """Elements of a piece, from ``taken`` to before ``end``, that are yet to be given out."""

    order: tuple[int, ...]
    piece: Piece
    taken: int
    end: int


@dataclass
class Counts:
    """How far a mapped stage is."""

    known: int = 0  #: elements that are there so far
    done: int = 0
    failed: int = 0
    failures: list[Failure] = field(default_factory=list)
    failed_items: list[FailedItem] = field(default_factory=list)


class Mapped(Job):
    """A stage that is computed for each element of a list, in chunks.

    Pieces of the list may come while it is computed: from a mapped stage that is still at it. An
    order (a tuple of positions) goes with each, so that results come out in the order of elements.
    """

    call: MapCall
    chunk_seconds = 0.01  #: how much work a message should hold
    async_chunk = 8  #: elements of an async stage in a message, at most

    def __init__(self, *args: Any, number: int) -> None:
        super().__init__(*args, number=number)
        self.counts = Counts()
        self.closed = False
        self.listeners: list[Mapped] = []
        self._cuts: deque[_Cut] = deque()
        self._again: deque[Unit] = deque()
        self.results: dict[tuple[int, ...], Piece] = {}
        self.out = 0  #: units that are given out and not answered
        self._seconds: float | None = None

    def add(self, piece: Piece, order: tuple[int, ...]) -> None:
        """Take elements to compute."""
        self.use.argument_bytes += Value(piece.part).size
        only = self.call.only
        spans = [(0, piece.count)] if only is None else _spans(only.items, piece)
        for start, end in spans:
            self.counts.known += end - start
            self._cuts.append(_Cut(order, piece, start, end))

    def close(self) -> None:
        """Learn that no more elements come."""
        self.closed = True
        self._end_if_done()

    def waiting(self) -> bool:
        """Tell whether there are elements to be given out."""
        return bool(self._cuts or self._again)

    def next(self, workers: int) -> Unit:
        """Return the next chunk, sized by how long elements took so far."""
        self.out += 1
        if self._again:
            return self._again.popleft()
        cut = self._cuts[0]
        count = min(self._size(workers), cut.end - cut.taken)
        unit = Unit(self, cut.piece, (*cut.order, cut.taken), cut.taken, count)
        cut.taken += count
        if cut.taken >= cut.end:
            self._cuts.popleft()
        return unit

    def _size(self, workers: int) -> int:
        if self.call.chunk_size:
            return self.call.chunk_size
        left = self.counts.known - self.counts.done
        fair = max(1, left // (2 * workers))  # smaller towards the end: workers finish together
        if self.is_async:
            return 1 if self.held else min(fair, self.async_chunk)
        if self._seconds is None:
            return 1
        return max(1, min(fair, int(self.chunk_seconds / max(self._seconds, 1e-7))))

    @property
    def holds_results(self) -> bool:
        """Whether results of some chunks are with a cluster."""
        return any(isinstance(piece.part, Held) for piece in self.results.values())

    def done(self, unit: Unit, done: Done, json: Any = None) -> None:
        """Note a chunk's results and failures, and hand the results on to who maps over them."""
        del json
        self.out -= 1
        if not unit.deferred:
            seconds = done.seconds / unit.count
            self._seconds = seconds if self._seconds is None else (self._seconds + seconds) / 2
        self.use.add(done)
        self.counts.done += unit.count
        self.counts.failed += done.items_failed
        for failure, _ in done.failures[: FAILURES_KEPT - len(self.counts.failures)]:
            self.counts.failures.append(Failure.model_validate(failure))
        self.counts.failed_items += (FailedItem(*item) for item in done.failed_items)
        for piece in done.value.pieces or ():
            if piece.count:
                self.results[unit.order] = piece
                for listener in self.listeners:
                    listener.add(piece, unit.order)
        self._end_if_done()

    def returned(self, unit: Unit) -> None:
        """Have a chunk computed by others, as a whole."""
        self.out -= 1
        self._again.append(unit)

    def lost(self, unit: Unit, cause: str) -> None:
        """Try the chunk's elements again, one by one, so that the one at fault is found."""
        self.out -= 1
        assert unit.piece is not None  # noqa: S101 - every unit of a mapped stage has one
        if unit.attempt < LOST_ATTEMPTS:
            self.attempts, self.worker = max(self.attempts, unit.attempt + 1), None
            for i in range(unit.count):
                order = (*unit.order[:-1], unit.start + i)
                again = Unit(self, unit.piece, order, unit.start + i, 1, unit.attempt + 1)
                self._again.append(again)
            return
        error = WorkerLost(self.call.stage, cause, unit.attempt)
        if not self.call.allow_partial_failure:
            self.failed(error)
            return
        self.out += 1
        (index,) = unit.piece.indexes(unit.start, 1)
        failure = Failure(type="WorkerLost", message=str(error), stage=self.call.stage, item=index)
        brief = index, failure.type, failure.message
        failures = ((failure.model_dump(), None),)
        self.done(unit, Done(Value(), failures=failures, failed_items=(brief,)))

    def _end_if_done(self) -> None:
        if self.outcome.done() or not self.closed or self.out or self.waiting():
            return
        value = Value(pieces=[self.results[order] for order in sorted(self.results)])
        self.outcome.set_result(
            Outcome(
                value,
                items=self.counts.done,
                items_failed=self.counts.failed,
                failures=tuple(sorted(self.counts.failures, key=lambda f: f.item or 0)),
                failed_items=tuple(sorted(self.counts.failed_items)),
                attempts=self.attempts,
                worker=self.worker,
                cpu_seconds=self.use.cpu_seconds,
                used=self.use.told(),
                result_bytes=value.size,
            )
        )
        for listener in self.listeners:
            listener.close()


def began(worker: str, node: str, *, ago: float = 0.0) -> dict[str, str]:
    """Return when an attempt began and where, as a :class:`~flowdapt.executors.Progress` has it.

    :param ago: so many seconds
    """
    at = now() - timedelta(seconds=ago) if ago else now()
    return {"at": timestamp(at), "worker": worker, "node": node}


def _spans(items: Sequence[int], piece: Piece) -> Iterator[tuple[int, int]]:
    """Yield where chosen elements stand in a piece, those side by side together.

    :param items: indexes in the whole list, in their order
    """
    at = bisect_left(items, piece.first)
    while at < len(items) and items[at] < piece.first + piece.count:
        begin = at
        while at + 1 < len(items) and items[at + 1] == items[at] + 1:
            at += 1
        at += 1
        start = items[begin] - piece.first
        yield start, min(start + at - begin, piece.count)
        if start + at - begin > piece.count:  # the rest of them is in the next piece
            return


class MapHandle(Handle):
    """A mapped call whose results may be taken as they come."""

    def __init__(self, outcome: asyncio.Future[Outcome], job: Mapped) -> None:
        super().__init__(outcome)
        self.job = job
