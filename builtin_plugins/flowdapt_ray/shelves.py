"""Where a process of Ray puts results, and finds arguments: in one block for each order."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from typing import Any

from flowdapt_workers import payloads
from flowdapt_workers.parts import INLINE_BYTES, Held, Part

from flowdapt_ray.blocks import Block
from flowdapt_ray.views import writable


class Shelf:
    """Payloads of the order that is computed now.

    :param number: of the block that holds what comes of the order
    :param blocks: those that it takes, by number
    """

    def __init__(self) -> None:
        self._number = 0
        self._blocks: Mapping[int, Block] = {}
        self._kept: list[payloads.Segments] = []
        self._texts: set[int] = set()

    def begin(self, number: int, blocks: Mapping[int, Block]) -> None:
        """Get ready for an order.

        :param number: of the block that is to hold what comes of it
        :param blocks: those that it takes, by number
        """
        self._number, self._blocks = number, blocks
        self._kept, self._texts = [], set()

    def end(self) -> Block | None:
        """Return the block with all that was stored, if anything was, and forget the order."""
        block = Block(self._kept, frozenset(self._texts)) if self._kept else None
        self.begin(0, {})
        return block

    def store(self, run: str, segments: payloads.Segments, value: Any) -> Part:
        """Keep a payload and return where it is."""
        del run, value
        size = payloads.size(segments)
        return payloads.pack(segments) if size <= INLINE_BYTES else self._put(segments, size)

    def store_text(self, run: str, text: bytes) -> bytes | Held:
        """Keep plain bytes, such as JSON, and return where they are."""
        del run
        if len(text) <= INLINE_BYTES:
            return text
        self._texts.add(len(self._kept))
        return self._put([text], len(text))

    def _put(self, segments: payloads.Segments, size: int) -> Held:
        self._kept.append(segments)
        return Held(self._number, len(self._kept) - 1, size)

    def load(self, part: Part) -> Any:
        """Return the value of a payload; what is large in it can be written to, for us alone."""
        if isinstance(part, bytes):
            return payloads.load(part)
        assert isinstance(part, Held)  # noqa: S101 - nothing else is ever made here
        head, *buffers = self._blocks[part.block].segments(part.place)
        return pickle.loads(head, buffers=map(writable, buffers))  # noqa: S301 - from our own
