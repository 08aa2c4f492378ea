"""A stage that is computed for each element of a list, chunk by chunk."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from flowdapt.errors import WorkerLost
from flowdapt.executors import FAILURES_KEPT, LOST_ATTEMPTS, MapCall, Outcome, Progress, StageFailed
from flowdapt.runs import FailedItem, Failure
from flowdapt_workers import stored
from flowdapt_workers.calls import Done, Failed, Piece, Value
from flowdapt_workers.failures import raised
from flowdapt_workers.jobs import Job, JobHandle, Unit
from flowdapt_workers.parts import INLINE_BYTES, Held
from flowdapt_workers.tallies import Tally, picked


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
        self.counts, self.tally = Counts(), Tally()
        self.closed = False
        self.listeners: list[Mapped] = []
        self._cuts: deque[_Cut] = deque()
        self._again: deque[Unit] = deque()
        self.results: dict[tuple[int, ...], Piece] = {}
        self.fresh: list[bytes] = []  #: what came of elements, to be told
        self._known: set[int] = set()
        for place, block in enumerate(self.call.known):
            with suppress(Exception):  # of an earlier release; then they are computed again
                self._restore(stored.elements(block), place)
        self.out = 0  #: units that are given out and not answered
        self._seconds: float | None = None

    def add(self, piece: Piece, order: tuple[int, ...]) -> None:
        """Take elements to compute; there may be none, as in an empty list of the run's input."""
        if not piece.count:
            return
        self.use.argument_bytes += Value(piece.part).size
        only = self.call.only
        spans = [(0, piece.count)] if only is None else _spans(only.items, piece)
        for start, end in spans:
            self.counts.known += end - start
            for first, last in self._unknown(piece, start, end):
                self._cuts.append(_Cut(order, piece, first, last))

    def _restore(self, elements: stored.Elements, place: int) -> None:
        """Note what came of some elements before an earlier server was killed."""
        self._known.update(elements.indexes)
        self.attempts = max(self.attempts, elements.attempts)
        self.tally.note(elements.indexes, elements.durations, attempts=elements.attempts)
        self.counts.failed += len(elements.failed_items)
        self._note_failures(elements.failures, elements.failed_items)
        for number, piece in enumerate(elements.pieces):
            self._keep(piece, (-1, place, number))

    def _unknown(self, piece: Piece, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Yield where elements stand side by side that are yet to be computed."""
        if not self._known:
            yield start, end
            return
        first = start
        for place, index in enumerate(piece.indexes(start, end - start), start):
            if index in self._known:
                self.counts.done += 1
                if first < place:
                    yield first, place
                first = place + 1
        if first < end:
            yield first, end

    def close(self) -> None:
        """Learn that no more elements come."""
        self.closed = True
        self._end_if_done()

    def progress(self, waiting: str | None = None) -> Progress:
        """Return how far it is, with the chunks that are told of for the first time."""
        counts, chunks, self.fresh = self.counts, tuple(self.fresh), []
        return replace(
            super().progress(waiting),
            items=counts.known,
            items_done=counts.done,
            items_failed=counts.failed,
            chunks=chunks,
        )

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
        if self.gate is not None:
            return 1
        if self.call.chunk_size:
            return self.call.chunk_size
        left = self.counts.known - self.counts.done
        fair = max(1, left // (2 * workers))  # smaller towards the end: workers finish together
        if self.is_async:
            return 1 if self.held else min(fair, self.async_chunk)
        if self._seconds is None:
            return 1
        seconds = self.chunk_seconds
        if self.allowed.timeout is not None:  # a chunk has no more time than an element
            seconds = min(seconds, self.allowed.timeout / 4)
        return max(1, min(fair, int(seconds / max(self._seconds, 1e-7))))

    @property
    def holds_results(self) -> bool:
        """Whether results of some chunks are with a cluster."""
        return any(isinstance(piece.part, Held) for piece in self.results.values())

    def done(self, unit: Unit, done: Done, json: Any = None) -> None:
        """Note a chunk's results and failures, and hand the results on to who maps over them."""
        del json
        self.out -= 1
        if done.items_failed and not self.task.allow_partial_failure:
            return self._fail(unit, done)
        if not unit.deferred:
            seconds = done.seconds / unit.count
            self._seconds = seconds if self._seconds is None else (self._seconds + seconds) / 2
        self.counts.done += unit.count - len(done.again)
        self.counts.failed += done.items_failed
        self._note_failures(done.failures, done.failed_items)
        pieces = [piece for piece in done.value.pieces or () if piece.count]
        self._tell(unit, done, pieces)
        for piece in pieces:
            self._keep(piece, self._order(unit, piece.first) if done.again else unit.order)
        for index in done.again:
            self._try_again(self._element(unit, self._order(unit, index)[-1]))
        self._end_if_done()
        return None

    def facts(self) -> dict[str, Any]:
        """Return what a stage's record has of it, whether it comes to an outcome or not."""
        return super().facts() | {
            "items": self.counts.known,
            "items_done": self.counts.done,
            "items_failed": self.counts.failed,
            "failures": tuple(sorted(self.counts.failures, key=lambda f: f.item or 0)),
            "failed_items": tuple(sorted(self.counts.failed_items)),
            "elements": self.tally.pack(),
        }

    def _fail(self, unit: Unit, done: Done) -> None:
        """End because of an element, as all are needed; what else its chunk had is not kept."""
        assert unit.piece is not None  # noqa: S101 - every unit of a mapped stage has one
        item, _, _, attempts = done.failed_items[0]
        indexes = unit.piece.indexes(unit.start, unit.count)
        self.tally.note([item], picked(indexes, done.durations, [item]), attempts=attempts)
        self.failed(raised(done.failures[0]))

    def _tell(self, unit: Unit, done: Done, pieces: Sequence[Piece]) -> None:
        """Note what came of the elements of a unit, but for those that are to come; store it."""
        assert unit.piece is not None  # noqa: S101 - every unit of a mapped stage has one
        indexes, seconds = unit.piece.indexes(unit.start, unit.count), done.durations
        if done.again:
            again = set(done.again)
            kept = [index for index in indexes if index not in again]
            indexes, seconds = kept, picked(indexes, seconds, kept)
            if not kept:
                return
        self.tally.note(indexes, seconds, attempts=unit.tried)
        failed = done.failures, tuple(done.failed_items)
        elements = stored.Elements(indexes, pieces, *failed, seconds, unit.tried)
        if (block := stored.chunk(elements)) is not None:
            self.fresh.append(block)

    def _note_failures(self, failures: Sequence[Failed], items: Sequence[Any]) -> None:
        for one in failures[: FAILURES_KEPT - len(self.counts.failures)]:
            self.counts.failures.append(Failure.model_validate(one.failure))
        self.counts.failed_items += (FailedItem(*item) for item in items)

    def _keep(self, piece: Piece, order: tuple[int, ...]) -> None:
        """Keep results, and hand them on to who maps over them."""
        self.results[order] = piece
        for listener in self.listeners:
            listener.add(piece, order)

    @property
    def ordered(self) -> list[tuple[tuple[int, ...], Piece]]:
        """The results so far, in the order of their elements."""
        return sorted(self.results.items(), key=lambda entry: entry[1].first)

    def raised(self, unit: Unit, failed: Failed) -> None:
        """Note that a chunk as a whole failed, by what no element is at fault for."""
        del unit
        self.out -= 1
        self.failed(raised(failed))

    def _order(self, unit: Unit, index: int) -> tuple[int, ...]:
        """Return where in the list the element of a unit stands that has an index."""
        assert unit.piece is not None  # noqa: S101 - every unit of a mapped stage has one
        return (*unit.order[:-1], unit.piece.position(index))

    def _element(self, unit: Unit, at: int, **changes: int) -> Unit:
        """Return a unit that is one element of a piece, to be computed once more."""
        return unit.anew(start=at, count=1, order=(*unit.order[:-1], at), **changes)

    def _queue(self, unit: Unit) -> None:
        self._again.append(unit)

    def late(self, unit: Unit, where: str = "") -> None:
        """Compute the elements of a chunk one by one; note that one took too long."""
        self.out -= 1
        if unit.count > 1:  # nobody is at fault, before it is known who takes so long
            self._again += (self._element(unit, unit.start + i) for i in range(unit.count))
        else:
            super().late(unit, where)

    def returned(self, unit: Unit) -> None:
        """Have a chunk computed by others, as a whole."""
        unit.end()
        self.out -= 1
        self._queue(unit.anew())

    def lost(self, unit: Unit, cause: str) -> None:
        """Try the chunk's elements again, one by one, so that the one at fault is found."""
        unit.end()
        self.out -= 1
        assert unit.piece is not None  # noqa: S101 - every unit of a mapped stage has one
        if unit.attempt < LOST_ATTEMPTS:
            for i in range(unit.count):
                again = self._element(unit, unit.start + i, attempt=unit.attempt + 1)
                self.tries(again)
                self._again.append(again)
            return
        error = WorkerLost(self.call.stage, cause, unit.attempt)
        (index,) = unit.piece.indexes(unit.start, 1)
        failure = Failure(type="WorkerLost", message=str(error), stage=self.call.stage, item=index)
        self.failed_at(unit, error, failure)

    def failed_at(self, unit: Unit, error: BaseException, failure: Failure) -> None:
        """Leave an element out, unless all of them are needed."""
        took = array("f", [self.allowed.timeout or 0.0]).tobytes() if unit.late else b""
        if not self.call.allow_partial_failure:
            if isinstance(error, StageFailed):  # and says of which element it is
                self.tally.note([failure.item or 0], took, attempts=unit.tried)
            self.failed(error)
            return
        self.out += 1
        unit.deferred = True  # nothing is to be learned from how long it took
        brief = failure.item or 0, failure.type, failure.message, unit.tried
        failures = (Failed(failure.model_dump()),)
        done = Done(Value(), failures=failures, failed_items=(brief,), durations=took)
        self.done(unit, done)

    def _end_if_done(self) -> None:
        if self.outcome.done() or not self.closed or self.out or self.waiting() or self.paused:
            return
        value = Value(pieces=[piece for _, piece in self.ordered])
        self.outcome.set_result(
            Outcome(
                value,
                stored=stored.stored(value, INLINE_BYTES),  # what is larger has its chunks
                items=self.counts.done,
                items_failed=self.counts.failed,
                failures=tuple(sorted(self.counts.failures, key=lambda f: f.item or 0)),
                failed_items=tuple(sorted(self.counts.failed_items)),
                elements=self.tally.pack(),
                attempts=self.attempts,
                worker=self.worker,
                cpu_seconds=self.use.cpu_seconds,
                used=self.use.told(),
                result_bytes=value.size,
            )
        )
        for listener in self.listeners:
            listener.close()


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


class MapHandle(JobHandle):
    """A mapped call whose results may be taken as they come."""

    def __init__(self, job: Mapped) -> None:
        super().__init__(job)
        self.job = job
