"""What a result has in common with what its stage was given: memory that need not be copied again.

A stage has its arguments in private mappings of blocks: a page is the block's own until somebody
writes to it. Where a result hands on such memory untouched, such as a frame that a stage only
looked at, the block is referred to instead.
"""

from __future__ import annotations

import mmap
import os
import sys
import weakref
from bisect import bisect_right
from dataclasses import dataclass
from typing import Any

LEAST = 2**20  #: bytes of a stretch that are worth it
_WORD = 8  #: bytes that the system tells of each page
# Of a page, see what Linux says of pagemap: it is there or swapped out, and it is the file's own.
# A private copy is the one and not the other.
_THERE, _OF_FILE = 62, 61


@dataclass(frozen=True, slots=True)
class Stretch:
    """Some bytes of a block.

    :param block: whatever names the block
    """

    block: Any
    start: int
    size: int


class Lent:
    """The private mappings that stages of this process were given and may still use."""

    def __init__(self) -> None:
        self._blocks: dict[int, tuple[weakref.ref[mmap.mmap], Any, int]] = {}

    def add(self, block: Any, memory: memoryview) -> None:
        """Note that a block is mapped here.

        :param memory: the whole of the block
        """
        if isinstance(memory.obj, mmap.mmap) and (begin := _address(memory)) is not None:
            self._blocks[begin] = weakref.ref(memory.obj, self._forget), block, memory.nbytes

    def _forget(self, gone: weakref.ref[mmap.mmap]) -> None:
        for begin, (known, _, _) in list(self._blocks.items()):
            if known is gone:  # and not another that was mapped at the same place
                del self._blocks[begin]

    def find(self, buffer: memoryview) -> Stretch | None:
        """Return where a buffer lies in a block, if it does and nobody wrote to it here."""
        if buffer.nbytes < LEAST or not self._blocks or (at := _address(buffer)) is None:
            return None
        begins = sorted(list(self._blocks))  # noqa: C414 - another thread may add one
        index = bisect_right(begins, at) - 1
        if index < 0:
            return None
        known, block, size = self._blocks.get(begins[index], (None, None, 0))
        mapping = known and known()  # it may be gone by now, and must not go while we look
        start = at - begins[index]
        if mapping is None or start + buffer.nbytes > size or not _untouched(at, buffer.nbytes):
            return None
        return Stretch(block, start, buffer.nbytes)


def _address(memory: memoryview) -> int | None:
    """Return where memory is, which only numpy tells; without it nothing large is likely here."""
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return None
    return int(numpy.frombuffer(memory, numpy.uint8).__array_interface__["data"][0])


def _untouched(begin: int, size: int) -> bool:
    """Tell whether no page of a private mapping was written to; not where the system is silent."""
    import numpy as np  # it is loaded, or there would be no address

    first, last = begin // mmap.PAGESIZE, (begin + size - 1) // mmap.PAGESIZE
    try:
        fd = os.open("/proc/self/pagemap", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # another system than Linux
        return False
    try:
        told = os.pread(fd, (last - first + 1) * _WORD, first * _WORD)
    finally:
        os.close(fd)
    pages = np.frombuffer(told, np.uint64)
    if len(pages) != last - first + 1:
        return False
    copied = (pages >> np.uint64(_THERE) != 0) & (pages >> np.uint64(_OF_FILE) & np.uint64(1) == 0)
    return not copied.any()
