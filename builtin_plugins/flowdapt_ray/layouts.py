"""Blocks of bytes in Ray's object store that are made of pieces there, and are one piece again.

Ray copies each buffer from where it is to its store, and begins each at a boundary. So that a large
array need not be put together with what describes it first, pieces are cut such that every one but
the last ends at a boundary: then they lie one behind the other, with nothing between them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

BOUNDARY = 64  #: bytes; where Ray lets a buffer begin
LARGE = 64 * 1024  #: bytes from which on a piece is not copied together with others


def cut(pieces: Iterable[Any]) -> list[Any]:
    """Return the same bytes in pieces that end at boundaries."""
    return [piece for piece in _cut(pieces) if len(piece)]


def _cut(pieces: Iterable[Any]) -> Iterator[Any]:
    small = bytearray()
    for piece in pieces:
        view = memoryview(piece).cast("B")
        if view.nbytes < LARGE:
            small += view
            continue
        missing = -len(small) % BOUNDARY
        small += view[:missing]
        yield small
        end = missing + (view.nbytes - missing) // BOUNDARY * BOUNDARY
        yield view[missing:end]
        small = bytearray(view[end:])
    yield small


def joined(pieces: list[memoryview]) -> memoryview:
    """Return pieces as one, which cannot be written to; without a copy where they lie in a row."""
    if len(pieces) == 1:
        return pieces[0].toreadonly()
    try:
        import numpy as np
    except ImportError:
        return memoryview(b"".join(pieces))
    arrays = [np.frombuffer(piece, np.uint8) for piece in pieces]
    at = [array.__array_interface__["data"][0] for array in arrays]
    sizes = [piece.nbytes for piece in pieces]
    if any(begin + size != after for begin, size, after in zip(at, sizes, at[1:], strict=False)):
        return memoryview(b"".join(pieces))
    # All are parts of one buffer of Ray's, which the first of them keeps as well.
    row = np.lib.stride_tricks.as_strided(arrays[0], (sum(sizes),), (1,), writeable=False)
    return memoryview(row)  # type: ignore[arg-type]  # an array is a buffer
