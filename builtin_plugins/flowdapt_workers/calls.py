"""What the server tells a worker about a call, and what it gets back. Opaque bytes stay opaque."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from flowdapt.context import Address
from flowdapt_workers.parts import Held, Part, Spooled, Woven


class Failed(NamedTuple):
    """What a stage raised.

    :param failure: as plain data
    :param pickled: the exception, where it can be pickled
    :param again: it is one after which the stage is to be tried again
    :param seconds: like what follows, as :class:`Done` has it; 0 where no function was called
    """

    failure: dict[str, Any]
    pickled: bytes | None = None
    again: bool = False
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_memory_bytes: int = 0
    worker: str | None = None


@dataclass(slots=True)
class Piece:
    """Elements of a list, pickled together.

    :param first: index of the first element in its list
    :param part: absent for elements of the run's input, which every worker has
    :param places: indexes of all of them, where some between them are missing
    """

    first: int
    count: int
    part: Part | None = None
    places: tuple[int, ...] | None = None

    @classmethod
    def of(cls, places: Sequence[int], part: Part) -> Piece:
        """Return a piece of elements with these indexes, which ascend."""
        first, count = (places[0] if places else 0), len(places)
        whole = not places or places[-1] - first == count - 1
        return cls(first, count, part, None if whole else tuple(places))

    def indexes(self, start: int, count: int) -> Sequence[int]:
        """Return the indexes of some of the elements."""
        if self.places is None:
            return range(self.first + start, self.first + start + count)
        return self.places[start : start + count]

    def position(self, index: int) -> int:
        """Return where the element with an index stands among these."""
        return index - self.first if self.places is None else bisect_left(self.places, index)


@dataclass(slots=True)
class Value:
    """A result that stays with the executor.

    :param part: the result as a whole; absent where it is a list that is only kept in pieces
    :param pieces: the elements, where a later stage maps over them
    """

    part: Part | None = None
    pieces: list[Piece] | None = None

    @property
    def parts(self) -> list[Part]:
        """Where it is: as a whole, or else piece by piece."""
        if self.part is not None:
            return [self.part]
        return [piece.part for piece in self.pieces or () if piece.part is not None]

    @property
    def size(self) -> int:
        """How many bytes it has, pickled."""
        return sum(_size(part) for part in self.parts)


@dataclass(frozen=True, slots=True)
class Task:
    """What is the same for all elements of a stage, or the whole of a call.

    :param target: an import path, or a pickled function
    """

    run: str
    stage: str
    target: str | bytes
    name: str
    type: str
    options: Mapping[str, Any]
    args: tuple[Value, ...] = ()
    takes_input: bool = False
    final: bool = False
    mapped_on: bool = False
    map_on: str | None = None
    allow_partial_failure: bool = True
    durable: bool = False


@dataclass(frozen=True, slots=True)
class Done:
    """A call was computed, or a chunk of one.

    :param json: of a final call
    :param failures: elements that were left out, the first few of them
    :param failed_items: all of them: index, type and the begin of the message; attempts
    :param again: indexes of elements that failed and are to be tried again; the results are in
        several pieces, none of which has elements from before and behind one of these
    :param durations: seconds that each element took, in their order: an ``array('f')``
    :param seconds: wall time in the function
    :param peak_memory_bytes: see :class:`flowdapt_workers.uses.Peak`
    :param is_async: the function was one that is awaited; told, like ``worker``, where no
        other message says it
    """

    value: Value
    json: bytes | Spooled | Held | None = None
    failures: tuple[Failed, ...] = ()
    failed_items: tuple[tuple[int, str, str, int], ...] = ()
    again: tuple[int, ...] = ()
    durations: bytes = b""
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_memory_bytes: int = 0
    is_async: bool = False
    worker: str | None = None

    @property
    def items_failed(self) -> int:
        """How many elements were left out."""
        return len(self.failed_items)

    @property
    def spooled(self) -> bool:
        """Whether anything of it lies in a file."""
        parts = (self.json, self.value.part, *(piece.part for piece in self.value.pieces or ()))
        return any(isinstance(part, Spooled | Woven) for part in parts)


@dataclass(frozen=True, slots=True)
class Order:
    """A call, or a chunk of one, for a cluster to compute.

    :param number: of this order; no other has it
    :param block: under which number the cluster is to hold what comes of it
    :param code: names the source of user modules to use
    :param wanted: resources
    :param piece: elements of a mapped call, ``count`` of them from the one at ``start``
    :param mapping: what is the same for all chunks of a mapped call has the same number
    :param priority: higher goes first, where a cluster knows of such
    :param attempt: which one this is, from 1
    :param failed: how many of those before failed
    :param limited: it is to be told when the function is called, because its time will be counted
    """

    number: int
    block: int
    task: Task
    code: str = ""
    wanted: Mapping[str, float] = field(default_factory=dict)
    piece: Piece | None = None
    start: int = 0
    count: int = 1
    mapping: int = 0
    priority: int = 0
    attempt: int = 1
    failed: int = 0
    limited: bool = False

    @property
    def needs(self) -> tuple[int, ...]:
        """The numbers of the blocks that it takes."""
        parts = [part for value in self.task.args for part in value.parts]
        if self.piece is not None and self.piece.part is not None:
            parts.append(self.piece.part)
        return tuple({part.block: None for part in parts if isinstance(part, Held)})


@dataclass(frozen=True, slots=True)
class Facts:
    """What a worker is told when it is made.

    :param sets: the folder in which plugin sets are prepared here
    """

    memory: Address
    snapshot: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    log_level: int = 20
    sets: Path | None = None


def _size(part: Part) -> int:
    return len(part) if isinstance(part, bytes) else part.size
