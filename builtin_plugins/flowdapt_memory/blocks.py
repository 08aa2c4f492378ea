"""The files that hold a block each: a header, what is known of the object, and the block.

The block begins at a multiple of 64 bytes, so that what is aligned in it is aligned when the file
is mapped. A file's modification time is when its object expires, and its access time when it was
last asked for, so that both are known without opening it.
"""

from __future__ import annotations

import errno
import os
import struct
from dataclasses import dataclass
from typing import Any

import orjson
from flowdapt_workers.payloads import ALIGNMENT

from flowdapt.objects import Entry

MAGIC = b"flowobj1"
NEVER = 2**33  #: seconds; when an object expires that does not, in the year 2242
LARGE = 2**20  #: bytes; files from this size on are mapped, locked and used again
_HEADER = struct.Struct("<8sQQQdd")  # magic, begin and size of the block, size of facts, two times
#: what the system says where there is no room
FULL = (errno.ENOSPC, errno.ENOMEM, errno.EDQUOT, errno.EFBIG)
HEAD = 16 * 1024  #: bytes that hold the header and what is known of any object


@dataclass(frozen=True, slots=True)
class Head:
    """What a file says before its block.

    :param begin: where the block begins
    :param size: of the block
    """

    namespace: str
    key: str
    type: str
    begin: int
    size: int
    created: float
    expires: float | None

    def entry(self, place: str) -> Entry:
        """Return what others are told of the object."""
        about = self.type, self.created, self.expires
        return Entry(self.namespace, self.key, place, self.size, *about)


def write_head(*facts: str, size: int, created: float, expires: float | None) -> bytes:
    """Return the begin of a new file, up to the block.

    :param facts: namespace, key and type
    """
    text = orjson.dumps(facts)
    begin = (_HEADER.size + len(text) + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT
    numbers = begin, size, len(text), created, expires or 0.0
    return (_HEADER.pack(MAGIC, *numbers) + text).ljust(begin, b"\0")


def read_head(block: Any) -> Head | None:
    """Return what a file begins with; nothing if it was emptied since it was opened."""
    view = memoryview(block)
    if len(view) < _HEADER.size:
        return None
    magic, begin, size, length, created, expires = _HEADER.unpack_from(view)
    if magic != MAGIC:
        return None
    namespace, key, type_ = orjson.loads(view[_HEADER.size : _HEADER.size + length])
    return Head(namespace, key, type_, begin, size, created, expires or None)


def is_large(status: os.stat_result) -> bool:
    """Tell whether a file is one that is mapped, locked and used again."""
    return status.st_size >= LARGE


def held(status: os.stat_result) -> int:
    """Return how many bytes of memory a file takes."""
    return status.st_blocks * 512


def expired(status: os.stat_result, now: float) -> bool:
    """Tell whether the object in a file is past its time."""
    return status.st_mtime <= now


def private(path: str, flags: int) -> int:
    """Open a file that nobody else can read, see :func:`open`."""
    return os.open(path, flags, 0o600)
