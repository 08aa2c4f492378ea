"""Memory of Ray's object store that a stage may write to: seen by it alone, and not copied.

Ray maps its store into every process for reading. A second mapping of the same memory, a private
one, shares its pages until somebody writes to them. Ray keeps no descriptor of it in a process that
computes, but the process that keeps the store of a node has one, and is our parent.
"""

from __future__ import annotations

import mmap
import os
import sys
import weakref
from contextlib import suppress
from functools import lru_cache
from typing import NamedTuple

LEAST = 1 << 20  #: bytes from which on a mapping is quicker than a copy


class _Mapping(NamedTuple):
    """A stretch of this process's addresses, and the file that is there."""

    begin: int
    end: int
    offset: int
    device: int
    inode: int


def writable(segment: memoryview) -> memoryview | bytearray:
    """Return the same bytes in memory that may be written to.

    :param segment: as Ray gave it; it stays in use as long as what is returned
    """
    if segment.nbytes >= LEAST and (address := _address(segment)) is not None:
        with suppress(OSError, ValueError):  # another system than Linux, or it does not let us
            found = _mapped(address)
            if found is not None and address + segment.nbytes <= found.end:
                return _private(segment, found.offset + address - found.begin, found)
    return bytearray(segment)


def _address(segment: memoryview) -> int | None:
    """Return where memory is, which only numpy tells; without it nothing large is likely here."""
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return None
    return int(numpy.frombuffer(segment, numpy.uint8).__array_interface__["data"][0])


def _mapped(address: int) -> _Mapping | None:
    """Return what is mapped at an address, if it is shared memory."""
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as lines:
        for line in lines:
            span, access, offset, device, inode, *_ = line.split(maxsplit=5)
            begin, end = (int(part, 16) for part in span.split("-"))
            if begin <= address < end:
                if not access.endswith("s"):
                    return None
                major, minor = (int(part, 16) for part in device.split(":"))
                number = os.makedev(major, minor)
                return _Mapping(begin, end, int(offset, 16), number, int(inode))
    return None


def _private(segment: memoryview, start: int, found: _Mapping) -> memoryview:
    fd = _descriptor(found.device, found.inode)
    page = start // mmap.ALLOCATIONGRANULARITY * mmap.ALLOCATIONGRANULARITY
    made = mmap.mmap(
        fd,
        start - page + segment.nbytes,
        mmap.MAP_PRIVATE,
        mmap.PROT_READ | mmap.PROT_WRITE,
        offset=page,
    )
    # Ray may use the memory for something else as soon as nobody reads the object any more.
    weakref.finalize(made, _let_go, segment).atexit = False
    return memoryview(made)[start - page :]


def _let_go(segment: memoryview) -> None:
    """Hold memory until this is called."""
    del segment


@lru_cache(8)  # a node has one file, and a few more while that is full
def _descriptor(device: int, inode: int) -> int:
    """Return a descriptor of a file that the process that started this one has open.

    :raises OSError: it has not, or does not let us look
    """
    folder = f"/proc/{os.getppid()}/fd"
    for name in os.listdir(folder):
        with suppress(OSError):  # closed meanwhile
            facts = os.stat(f"{folder}/{name}")
            if (facts.st_dev, facts.st_ino) == (device, inode):
                return os.open(f"{folder}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    raise FileNotFoundError(f"no descriptor of inode {inode}")
