"""Where the bytes of arguments and results are: the words in which executors speak of them."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import uuid4

from flowdapt.context import PLACES, Address
from flowdapt.objects import attached
from flowdapt_workers import payloads
from flowdapt_workers.lending import Stretch

INLINE_BYTES = 64 * 1024  #: results up to this size travel in messages


@dataclass(frozen=True, slots=True)
class Spooled:
    """A payload in memory."""

    namespace: str
    key: str
    size: int


@dataclass(frozen=True, slots=True)
class Woven:
    """A payload of which some segments lie in other blocks of the same run.

    :param own: a payload: the list of all segments, with nothing in the place of these
    :param others: these, by their places
    """

    own: bytes | Spooled
    others: tuple[tuple[int, Stretch], ...]

    @property
    def size(self) -> int:
        """How many bytes the payload would have as a block of its own, nearly."""
        own = len(self.own) if isinstance(self.own, bytes) else self.own.size
        return own + sum(stretch.size for _, stretch in self.others)


@dataclass(frozen=True, slots=True)
class Held:
    """A payload that stays on the cluster where it was made.

    :param block: the number of what a unit gave there
    :param place: which payload of that block
    """

    block: int
    place: int
    size: int


@dataclass(frozen=True, slots=True)
class Archived:
    """A payload among the artifacts, where any process finds it, and any later server.

    It does not say where these are, because that may hold a password.
    """

    namespace: str
    key: str
    size: int

    @classmethod
    def of(cls, place: Address, run: str, segments: payloads.Segments) -> Archived:
        """Write a payload of a run."""
        part = cls(archive(run), uuid4().hex, payloads.size(segments))
        attached(place).save(part.namespace, part.key, payloads.pack(segments), hook=None)
        return part

    def __bytes__(self) -> bytes:
        if PLACES not in os.environ:
            raise LookupError("artifacts of runs are read where stages are computed, and not here")
        _, artifacts, *_ = json.loads(os.environ[PLACES])
        artifacts = attached(Address(*artifacts))
        content: bytes = artifacts.load(self.namespace, self.key, hook=None)
        return content


def archive(run: str) -> str:
    """Return the namespace of a run's payloads among the artifacts."""
    return f"run-{run}"


Part = bytes | Spooled | Woven | Held | Archived  #: a payload, wherever it is


class Store(Protocol):
    """Where a process that computes puts results, and finds arguments."""

    def store(self, run: str, segments: payloads.Segments, value: Any) -> Part:
        """Keep a payload and return where it is.

        :param value: what the payload is of
        :raises flowdapt.errors.MemoryFull: there is no room for it
        """

    def store_text(self, run: str, text: bytes) -> bytes | Spooled | Held:
        """Keep plain bytes, such as JSON, and return where they are."""

    def load(self, part: Part) -> Any:
        """Return the value of a payload; what is large in it can be written to, for us alone."""
