"""How long each element of a stage took, and how often it was tried, in about 4 bytes each."""

from __future__ import annotations

import struct
import zlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

ABSENT = -2.0  #: in place of seconds: no element of the stage has this index
UNKNOWN = -1.0  #: in place of seconds: nobody saw how long it took, as its worker died over it

_HEAD = struct.Struct("<?I")  # whether the seconds are packed, and how many bytes the attempts have
_ABSENT = array("f", [ABSENT]).tobytes()
_MOST_ATTEMPTS = 2**16 - 1


_N = TypeVar("_N", int, float)


class Tallied(NamedTuple):
    """What is known of an element that was computed, or that failed.

    :param item: its place in the first list that was mapped over
    :param seconds: of its last attempt; :data:`UNKNOWN` if nobody saw that
    """

    item: int
    seconds: float
    attempts: int


class Tally:
    """What is known of the elements of one stage, by index, whatever order they come in."""

    def __init__(self) -> None:
        self._seconds = array("f")
        self._attempts = array("H")  # as far as to the last that was tried more than once

    def note(self, indexes: Sequence[int], seconds: bytes = b"", *, attempts: int = 1) -> None:
        """Take elements that were tried equally often.

        :param seconds: of each, as an ``array('f')``; nothing where it is not known
        """
        if not indexes:
            return
        took = array("f", seconds)
        took.extend([UNKNOWN] * (len(indexes) - len(took)))
        _put(self._seconds, indexes, took, ABSENT)
        if attempts > 1:
            tried = array("H", [min(attempts, _MOST_ATTEMPTS)]) * len(indexes)
            _put(self._attempts, indexes, tried, 1)

    def __iter__(self) -> Iterator[Tallied]:
        """Yield the elements in the order of their indexes."""
        tried = len(self._attempts)
        for index, seconds in enumerate(self._seconds):
            if seconds != ABSENT:
                yield Tallied(index, seconds, self._attempts[index] if index < tried else 1)

    def __len__(self) -> int:
        return len(self._seconds) - self._seconds.count(ABSENT)

    @property
    def known_seconds(self) -> array[float]:
        """The seconds of all elements of which they are known, in no order that means anything."""
        return array("f", [seconds for seconds in self._seconds if seconds >= 0])

    def pack(self) -> bytes | None:
        """Return it as bytes; nothing where there was no element."""
        if not self._seconds:
            return None
        attempts = zlib.compress(self._attempts.tobytes(), 1) if self._attempts else b""
        seconds = self._seconds.tobytes()
        if gaps := _ABSENT in seconds:  # wrong now and then, which costs no more than some time
            seconds = zlib.compress(seconds, 1)
        return _HEAD.pack(gaps, len(attempts)) + attempts + seconds


def unpacked(block: bytes | None) -> Tally:
    """Return what :meth:`Tally.pack` had made of a tally; nothing stands for an empty one."""
    tally = Tally()
    if block:
        gaps, size = _HEAD.unpack_from(block)
        begin = _HEAD.size + size
        seconds = block[begin:]
        tally._seconds.frombytes(zlib.decompress(seconds) if gaps else seconds)
        if size:
            tally._attempts.frombytes(zlib.decompress(block[_HEAD.size : begin]))
    return tally


def picked(indexes: Sequence[int], seconds: bytes, kept: Iterable[int]) -> bytes:
    """Return the seconds of some of the elements only, as an ``array('f')``.

    :param indexes: of those that ``seconds`` has
    :param kept: some of them
    """
    took = dict(zip(indexes, array("f", seconds), strict=False))
    return array("f", [took.get(index, UNKNOWN) for index in kept]).tobytes()


def _put(kept: array[_N], indexes: Sequence[int], values: array[_N], missing: _N) -> None:
    """Put values at indexes, which ascend, of an array that grows as far as it has to."""
    first, last = indexes[0], indexes[-1]
    if last >= len(kept):
        kept.extend(array(kept.typecode, [missing]) * (last + 1 - len(kept)))
    if last - first == len(indexes) - 1:
        kept[first : last + 1] = values
        return
    for index, value in zip(indexes, values, strict=True):
        kept[index] = value
