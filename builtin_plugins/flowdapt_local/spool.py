"""Where results too large for a message are kept: as objects of the server's memory.

Each is written once, by the worker whose result it is, into a namespace of its run that nobody
else sees. Who takes it gets memory of its own that is shared until it is written to: no copy is
made, and a stage may still write to its arguments.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from flowdapt import payloads
from flowdapt.objects import Memory, type_of

INLINE_BYTES = 64 * 1024  #: results up to this size travel in messages


@dataclass(frozen=True, slots=True)
class Spooled:
    """A payload in memory."""

    namespace: str
    key: str
    size: int


Part = bytes | Spooled  #: a payload, wherever it is


class Spool:
    """Writes and reads payloads of one server, in the memory that its objects are in."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self._numbers = itertools.count()

    def store(self, run: str, segments: payloads.Segments, value: Any) -> Part:
        """Keep a payload and return where it is.

        :param value: what the payload is of
        :raises flowdapt.errors.MemoryFull: there is no room for it
        """
        size = payloads.size(segments)
        if size <= INLINE_BYTES:
            return payloads.pack(segments)
        return self._spooled(run, payloads.laid_out(segments), size, type_of(value))

    def store_text(self, run: str, text: bytes) -> Part:
        """Keep plain bytes, such as JSON, and return where they are."""
        return text if len(text) <= INLINE_BYTES else self._spooled(run, [text], len(text), "json")

    def _spooled(self, run: str, pieces: Iterable[Any], size: int, kind: str) -> Spooled:
        part = Spooled(_namespace(run), f"{os.getpid()}-{next(self._numbers)}", size)
        self.memory.put(part.namespace, part.key, pieces, size=size, type=kind)
        return part

    def content(self, part: Part) -> bytes | memoryview:
        """Return the bytes of a part; those in memory can be written to, for this process alone."""
        if isinstance(part, bytes):
            return part
        return self.memory.get(part.namespace, part.key, writable=True)

    def forget(self, run: str) -> None:
        """Remove everything of a run; what is mapped elsewhere stays usable there."""
        self.memory.clear(_namespace(run))


def _namespace(run: str) -> str:
    return f".run-{run}"  # a dot hides it from lists, and keeps it from quotas
