"""Where results too large for a message are kept: as objects of the server's memory.

Each is written once, by the worker whose result it is, into a namespace of its run that nobody
else sees. Who takes it gets memory of its own that is shared until it is written to: no copy is
made, and a stage may still write to its arguments.
"""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Iterable
from typing import Any
from uuid import uuid4

from flowdapt.objects import Memory, type_of
from flowdapt_workers import payloads
from flowdapt_workers.lending import Lent
from flowdapt_workers.parts import INLINE_BYTES, Archived, Held, Part, Spooled, Woven


class Spool:
    """Writes and reads payloads of one server, in the memory that its objects are in."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self._token, self._numbers = uuid4().hex, itertools.count()  # pids come again
        self._lent = Lent()

    def store(self, run: str, segments: payloads.Segments, value: Any) -> Part:
        """Keep a payload and return where it is.

        :param value: what the payload is of
        :raises flowdapt.errors.MemoryFull: there is no room for it
        """
        namespace = _namespace(run)
        others = {
            place: stretch
            for place, segment in enumerate(segments[1:], 1)
            if (stretch := self._lent.find(segment)) and stretch.block.namespace == namespace
        }
        if not others:
            return self._kept(namespace, segments, type_of(value))
        left = [
            None if place in others else pickle.PickleBuffer(segment) if place else segment
            for place, segment in enumerate(segments)
        ]
        own = self._kept(namespace, payloads.dump(left), type_of(value))
        return Woven(own, tuple(others.items()))

    def store_text(self, run: str, text: bytes) -> bytes | Spooled:
        """Keep plain bytes, such as JSON, and return where they are."""
        if len(text) <= INLINE_BYTES:
            return text
        return self._spooled(_namespace(run), [text], len(text), "json")

    def _kept(self, namespace: str, segments: payloads.Segments, kind: str) -> bytes | Spooled:
        size = payloads.size(segments)
        if size <= INLINE_BYTES:
            return payloads.pack(segments)
        return self._spooled(namespace, payloads.laid_out(segments), size, kind)

    def _spooled(self, namespace: str, pieces: Iterable[Any], size: int, kind: str) -> Spooled:
        part = Spooled(namespace, f"{self._token}-{next(self._numbers)}", size)
        self.memory.put(namespace, part.key, pieces, size=size, type=kind)
        return part

    def load(self, part: Part) -> Any:
        """Return the value of a payload; what is large in it can be written to, for us alone."""
        if not isinstance(part, Woven):
            return payloads.load(self.content(part))
        segments = self._segments(part)
        return pickle.loads(segments[0], buffers=segments[1:])  # noqa: S301 - from our own workers

    def _segments(self, part: Woven) -> payloads.Segments:
        """Return all segments of a payload, wherever they lie."""
        segments: payloads.Segments = payloads.load(self.content(part.own))
        blocks: dict[Spooled, memoryview] = {}
        end = 0
        for place, stretch in sorted(part.others, key=lambda other: other[1].start):
            # Once for each block; but what overlaps must not be one memory that is written to.
            if stretch.block not in blocks or stretch.start < end:
                blocks[stretch.block] = memoryview(self.content(stretch.block))
            end = max(end, stretch.start + stretch.size)
            segments[place] = blocks[stretch.block][stretch.start :][: stretch.size]
        return segments

    def content(self, part: bytes | Spooled | Held | Archived) -> bytes | memoryview:
        """Return the bytes of a part; those in memory can be written to, for this process alone."""
        if isinstance(part, bytes | Archived):
            return bytes(part)
        assert isinstance(part, Spooled)  # noqa: S101 - what is held by a cluster comes otherwise
        memory = self.memory.get(part.namespace, part.key, writable=True)
        self._lent.add(part, memory)
        return memory

    def whole(self, part: Spooled | Woven) -> bytes | memoryview:
        """Return a payload in one piece, as it goes to another machine."""
        if isinstance(part, Woven):
            return payloads.pack([memoryview(segment) for segment in self._segments(part)])
        return self.memory.get(part.namespace, part.key)

    def store_whole(self, run: str, payload: bytes | memoryview) -> Spooled:
        """Keep a payload that came from another machine, in one piece."""
        return self._spooled(_namespace(run), [payload], memoryview(payload).nbytes, "")

    def drop(self, parts: Iterable[Spooled]) -> None:
        """Remove single payloads; what is mapped elsewhere stays usable there."""
        for part in parts:
            self.memory.delete(part.namespace, part.key)

    def forget(self, run: str) -> None:
        """Remove everything of a run; what is mapped elsewhere stays usable there."""
        self.memory.clear(_namespace(run))


def _namespace(run: str) -> str:
    return f".run-{run}"  # a dot hides it from lists, and keeps it from quotas
