"""Objects: values that stages and runs share by name, from any process.

``put``, ``get``, ``exists``, ``delete`` and ``list`` work the same wherever code runs: in a stage,
in what a stage calls, and in a script or a notebook without a server; the plugin
``flowdapt_objects`` brings them. Behind them are two contracts: a memory, which is quick and lasts
as long as its server, and artifacts, which are files and last::

    from flowdapt import objects

    objects.put("features", frame)
    frame = objects.get("features")
"""

from __future__ import annotations

import json
import mmap
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from flowdapt.context import Address
from flowdapt.hooks import load

if TYPE_CHECKING:
    from flowdapt_objects.calls import *  # noqa: F403

Buffer = bytes | bytearray | memoryview | mmap.mmap  #: what pickled values are
Hook = Callable[..., Any] | None  #: reads or writes the files of an artifact


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of an object.

    :param place: ``memory``, ``disk`` where the memory had no room for it, or ``artifact``
    :param size: bytes
    :param type: of the value, such as ``numpy.ndarray``
    :param created: seconds since 1970, like ``expires``
    """

    namespace: str
    key: str
    place: str
    size: int
    type: str = ""
    created: float = 0.0
    expires: float | None = None


class Memory(ABC):
    """The contract of a memory: it keeps blocks of bytes, which it never looks into.

    Every process has a memory of its own over what they share. A change is there for all or for
    none: who reads while a block is replaced gets the old one or the new one.
    """

    address: Address  #: what other processes attach with, see :func:`attached`

    @abstractmethod
    def put(
        self,
        namespace: str,
        key: str,
        pieces: Iterable[Buffer],
        *,
        size: int,
        type: str = "",  # noqa: A002 - of an Entry
        ttl: float | None = None,
    ) -> None:
        """Keep a block, instead of the one that was there.

        :param pieces: the block's bytes, in order; ``size`` of them
        :param ttl: seconds until it is gone
        :raises flowdapt.errors.MemoryFull: there is no room for it, on disk neither
        """

    @abstractmethod
    def get(self, namespace: str, key: str, *, writable: bool = False) -> memoryview:
        """Return a block, without a copy where it is large.

        :param writable: it can be written to, which nobody else sees
        :raises KeyError: it is not there
        """

    @abstractmethod
    def exists(self, namespace: str, key: str) -> bool:
        """Tell whether a block is there."""

    @abstractmethod
    def delete(self, namespace: str, key: str) -> None:
        """Remove a block; silent if it is not there."""

    @abstractmethod
    def list(self, namespace: str | None = None) -> Iterator[Entry]:
        """Yield what is there, in one namespace or in all but those that begin with a dot."""

    @abstractmethod
    def clear(self, namespace: str) -> None:
        """Remove a namespace with all that is in it."""

    def stats(self) -> dict[str, Any]:
        """Return facts such as ``used`` and ``capacity``, in bytes."""
        return {}

    def close(self) -> None:  # noqa: B027 - there may be nothing to do
        """Let go of it; who made it and did not attach ends it."""


class Artifacts(ABC):
    """The contract of artifacts, as far as objects need it: a value in the files of one name."""

    @abstractmethod
    def save(self, namespace: str, name: str, value: Any, *, hook: Hook, **params: Any) -> None:
        """Write a value, as ``hook(artifact, value)`` does or else as one pickle."""

    @abstractmethod
    def load(self, namespace: str, name: str, *, hook: Hook, **params: Any) -> Any:
        """Return what ``hook(artifact)`` reads, or the value that was saved without one.

        :raises FileNotFoundError: there is no such artifact
        """

    @abstractmethod
    def exists(self, namespace: str, name: str, **params: Any) -> bool:
        """Tell whether an artifact is there."""

    @abstractmethod
    def delete(self, namespace: str, name: str, **params: Any) -> None:
        """Remove an artifact; silent if it is not there."""

    @abstractmethod
    def list(self, namespace: str | None = None) -> Iterator[Entry]:
        """Yield what is there, in one namespace or in all."""


@lru_cache(16)
def attached(address: Address) -> Any:
    """Return this process's memory, or its artifacts, at an address."""
    return load(address.target)(**json.loads(address.options))


def __getattr__(name: str) -> Any:
    if name.startswith("_"):  # Python asks every module for a few of these
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from flowdapt.plugins import offered  # here, so that workers import it only if they need it

    return globals().setdefault(name, getattr(offered("exports", "objects"), name))
