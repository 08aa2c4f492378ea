"""Payloads as Ray carries them: bytes and buffers, so that its processes need no type of a user."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any

from flowdapt_workers import payloads


class Block:
    """Payloads that stay in Ray's object store, and are views of it wherever they are read.

    :param payloads: the segments of each, see :mod:`flowdapt_workers.payloads`; text is one segment
    :param texts: which of them are plain bytes
    """

    def __init__(self, payloads: Sequence[Sequence[Any]], texts: frozenset[int] = frozenset()):
        self.payloads, self.texts = payloads, texts

    def __reduce_ex__(self, protocol: Any) -> Any:
        # Out of band, all of it: Ray copies buffers once, from where they are to where they stay.
        segments = [[pickle.PickleBuffer(part) for part in payload] for payload in self.payloads]
        return Block, (segments, self.texts)

    def segments(self, place: int) -> list[memoryview]:
        """Return the segments of a payload; they cannot be written to."""
        return [memoryview(segment).cast("B") for segment in self.payloads[place]]

    def packed(self, place: int) -> bytes | memoryview:
        """Return a payload as one piece of bytes."""
        segments: list[Any] = self.segments(place)
        return segments[0] if place in self.texts else payloads.pack(segments)


def wrapped(data: bytes) -> Block:
    """Return one payload of plain bytes."""
    return Block([[data]], frozenset({0}))
