"""Blocks as their readers have them: small ones copied, large ones mapped."""

from __future__ import annotations

import fcntl
import mmap
import os
import time
from typing import NamedTuple
from weakref import WeakValueDictionary

from flowdapt.objects import Buffer
from flowdapt_memory.blocks import LARGE, Head, is_large, read_head

ASKED_SECONDS = 1.0  #: how exactly it is noted when a block was last asked for


class Block(NamedTuple):
    """What was read of a file."""

    head: Head
    memory: memoryview


class Reader:
    """Reads files, each large one mapped once as long as anything refers to it.

    A mapping keeps the file's descriptor and so its lock, until the last array that lies in it is
    gone; while there is the lock nobody writes to the file or takes its memory away. Nothing has to
    be given back, and of a process that was killed nothing is left.
    """

    def __init__(self) -> None:
        self._mapped: WeakValueDictionary[tuple[int, int], mmap.mmap] = WeakValueDictionary()

    def read(self, file: str, *, writable: bool) -> Block | None:
        """Return what a file holds; nothing if it was emptied or given away meanwhile.

        :raises FileNotFoundError: there is no such file
        :raises OSError: it is something else
        """
        fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        try:
            status = os.fstat(fd)
            if is_large(status):
                fcntl.flock(fd, fcntl.LOCK_SH)
                # While we waited it may have been replaced, emptied, or half written again.
                status = os.fstat(fd)
                if not os.path.samestat(status, os.stat(file)):
                    return None
                memory = self._mapping(fd, status, writable)
            else:
                memory = _copied(fd, status.st_size, writable)
            now = time.time()
            if now - status.st_atime > ASKED_SECONDS:
                os.utime(fd, ns=(int(now * 1e9), status.st_mtime_ns))
        finally:
            os.close(fd)
        head = read_head(memory)
        if head is None:
            raise OSError(f"{file} is no block of a memory; remove it")
        return Block(head, memoryview(memory)[head.begin : head.begin + head.size])

    def _mapping(self, fd: int, status: os.stat_result, writable: bool) -> Buffer:
        """Map a file that is locked; copy it if there is no descriptor left to do that with."""
        identity = status.st_dev, status.st_ino
        known = None if writable else self._mapped.get(identity)
        if known is not None:  # as long as it is mapped no other file has this identity
            return known
        access = mmap.ACCESS_COPY if writable else mmap.ACCESS_READ
        try:
            mapped = mmap.mmap(fd, status.st_size, access=access)
        except OSError:  # too many files are open, or mapped
            return _copied(fd, status.st_size, writable)
        if not writable:
            self._mapped[identity] = mapped
        return mapped


def _copied(fd: int, size: int, writable: bool) -> Buffer:
    if size < LARGE and not writable:
        return os.read(fd, size)
    memory = memoryview(bytearray(size))
    place = 0
    while place < size:  # the system reads 2 GiB at once, at most
        count = os.preadv(fd, [memory[place:]], place)
        if not count:
            raise OSError("a file of a memory ended while it was read")
        place += count
    return memory if writable else memory.toreadonly()
