"""Large files that this process wrote, kept open and mapped to be written again.

Memory that is new costs several times the copy into it, because the kernel clears each page first;
so does a new mapping of old memory, for the page faults. A file that is free again, and that this
process has mapped, takes a block at the speed of the copy.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from flowdapt_memory.arena import Arena
from flowdapt_memory.blocks import held

KEPT = 64  #: segments that one process keeps open
SLACK = 1.5  #: how much larger than its block a segment may be
#: The use from which on a segment is mapped: mapping costs as much as some writes without it.
MAPPED_USE = 3
STEP = 8 * 2**20  #: bytes copied at once: other threads wait meanwhile


class Segment:
    """A file in shared memory that belongs to this process as its writer.

    :param file: where it is while it is being written
    """

    def __init__(self, file: str) -> None:
        self.file, self.size, self.uses = file, 0, 0
        self._memory: mmap.mmap | None = None
        self._fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        # Whoever finds the file half written is told by the lock that somebody is at it.
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        self.inode = os.fstat(self._fd).st_ino

    def write(self, pieces: Iterable[Any], expires: float) -> None:
        """Write a block with its head from the begin, and let readers come.

        :raises OSError: the memory is full; the file is of no use then
        """
        self.uses += 1
        if self._memory is None and self.uses >= MAPPED_USE:
            self._memory = mmap.mmap(self._fd, self.size)
        place = 0
        for piece in pieces:
            view = memoryview(piece).cast("B")
            for start in range(0, len(view), STEP):
                place = self._write(view[start : start + STEP], place)
        self.size = max(self.size, place)
        os.utime(self._fd, (time.time(), expires))
        fcntl.flock(self._fd, fcntl.LOCK_UN)

    def _write(self, view: memoryview, place: int) -> int:
        end = place + len(view)
        if self._memory is not None:
            self._memory[place:end] = view
        else:
            while place < end:
                place += os.pwrite(self._fd, view[place - end :], place)
        return end

    def claim(self, free: str, new: str) -> bool:
        """Take the file back to write it again, if nobody reads or names it any more."""
        self.file = f"{new}/{self.inode}"
        try:
            os.rename(f"{free}/{self.inode}", self.file)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.rename(self.file, f"{free}/{self.inode}")
            return False
        if os.fstat(self._fd).st_nlink == 1:
            return True
        # It is a living object: somebody was killed while it was replaced.
        os.unlink(self.file)
        fcntl.flock(self._fd, fcntl.LOCK_UN)
        return False

    @property
    def gone(self) -> bool:
        """Whether the file was removed, so that nobody will ever read it again."""
        return os.fstat(self._fd).st_nlink == 0

    @property
    def held(self) -> int:
        """How many bytes of memory it takes."""
        return held(os.fstat(self._fd))

    def close(self) -> None:
        """Let go of it; the file stays as it is."""
        if self._memory is not None:
            self._memory.close()
        os.close(self._fd)


class Segments:
    """The segments of one process."""

    def __init__(self, arena: Arena) -> None:
        self._arena = arena
        self._kept: list[Segment] = []
        self._lock = threading.Lock()

    def claim(self, size: int) -> Segment | None:
        """Return a segment that is free and takes so many bytes, if there is one.

        It belongs to the caller until it is given back.
        """
        with self._lock:
            self._drop_what_is_gone()
            for segment in sorted(self._kept, key=lambda s: s.size):
                fits = size <= segment.size <= SLACK * size
                if fits and segment.claim(self._arena.free, self._arena.new):
                    self._kept.remove(segment)
                    return segment
        return None

    def fresh(self) -> Segment:
        """Return a new segment, which is written as it grows."""
        return Segment(self._arena.fresh(self._arena.new))

    def give_back(self, segment: Segment) -> None:
        """Keep a segment that was written, to be taken again once it is free."""
        with self._lock:
            self._kept.append(segment)
            while len(self._kept) > KEPT:
                self._kept.pop(0).close()

    def discard(self, segment: Segment) -> None:
        """Remove a segment that could not be written."""
        with suppress(FileNotFoundError):
            os.unlink(segment.file)
        segment.close()

    def _drop_what_is_gone(self) -> None:
        for segment in [segment for segment in self._kept if segment.gone]:
            self._kept.remove(segment)
            segment.close()

    def close(self) -> None:
        """Let go of all of them."""
        for segment in self._kept:
            segment.close()
        self._kept.clear()
