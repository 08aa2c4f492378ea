"""Blocks of bytes that go from process to process of one machine as memory, and not as bytes."""

from __future__ import annotations

import mmap
import os
import socket
import struct
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

SHARED = Path("/dev/shm")  # noqa: S108 - files without a name, so that nobody else can open them
_LENGTH = struct.Struct("<I")


class Shared(mmap.mmap):
    """A mapping of memory that other processes can map, too; ``fd`` is the file behind it."""

    fd: int = -1

    @classmethod
    def of(cls, fd: int, *, access: int = mmap.ACCESS_READ) -> Shared:
        """Map a file, which is closed with the mapping."""
        made = cls(fd, os.fstat(fd).st_size, access=access)
        made.fd = fd
        return made

    def __del__(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)


def written(pieces: Iterable[Any], size: int) -> int:
    """Return a file without a name that holds pieces of bytes; the caller closes it.

    :param size: of all of them, at least 1
    :raises OSError: there is no room for it
    """
    if sys.platform == "linux":
        fd = os.memfd_create("flowdapt", os.MFD_CLOEXEC)
    else:
        with tempfile.TemporaryFile(dir=SHARED if SHARED.is_dir() else None) as file:
            fd = os.dup(file.fileno())
    try:
        os.truncate(fd, size)
        for piece in pieces:
            left = memoryview(piece).cast("B")
            while left:
                left = left[os.write(fd, left) :]
    except BaseException:
        os.close(fd)
        raise
    return fd


def as_file(block: memoryview) -> tuple[int, bool]:
    """Return a file with a block, and whether it is the caller's to close."""
    if isinstance(block.obj, Shared) and len(block.obj) == block.nbytes:
        return block.obj.fd, False
    return written([block], block.nbytes), True


def send(end: socket.socket, message: bytes, files: Iterable[int] = ()) -> None:
    """Send a message, and files with it."""
    head = _LENGTH.pack(len(message)) + message
    sent = socket.send_fds(end, [head], list(files))
    end.sendall(memoryview(head)[sent:])


def receive(end: socket.socket) -> tuple[bytes, list[int]] | None:
    """Wait for the next message and the files that come with it; nothing once the end is gone."""
    head, files, _, _ = socket.recv_fds(end, _LENGTH.size, 1)
    while head and len(head) < _LENGTH.size:
        more = end.recv(_LENGTH.size - len(head))
        if not more:
            return None
        head += more
    if not head:
        return None
    (left,) = _LENGTH.unpack(head)
    message = bytearray()
    while left > len(message):
        more = end.recv(min(left - len(message), 1 << 20))
        if not more:
            return None
        message += more
    return bytes(message), files
