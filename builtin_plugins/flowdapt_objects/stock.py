"""All objects of a server: those in its memory, and those that are kept as artifacts.

Everything here may wait for a disk or a network, so call it in a thread. No value is ever read.
"""

from __future__ import annotations

import heapq
import logging
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any

from flowdapt.errors import ResourceNotFound
from flowdapt.objects import Artifacts, Entry, Memory, attached

if TYPE_CHECKING:
    from flowdapt.server import Server

logger = logging.getLogger(__name__)

KIND = "object"
HIDDEN = "."  #: what namespaces begin with that hold results of runs, which nobody else sees

Position = tuple[str, ...]  #: namespace, key and place of an object, or the first of these


class Place(StrEnum):
    """Where an object may be."""

    MEMORY = "memory"
    DISK = "disk"
    ARTIFACT = "artifact"


@dataclass
class Sum:
    """What the objects of one namespace come to.

    :param sizes: bytes by place
    """

    objects: int = 0
    sizes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(Place, 0))


class Stock:
    """The objects of a server."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def list(
        self,
        namespace: str | None = None,
        *,
        prefix: str = "",
        places: Collection[str] = (),
        after: Position = (),
        limit: int,
    ) -> Sequence[Entry]:
        """Return what there is, ordered by namespace, key and place.

        :param prefix: what keys begin with
        :param places: only what is there; empty means everywhere
        :param after: only what is behind this position
        :param limit: at most so many
        """
        found = (
            entry
            for entry in self._all(namespace, places or [*Place])
            if entry.key.startswith(prefix) and position(entry) > after
        )
        return heapq.nsmallest(limit, found, key=position)

    def find(self, namespace: str, key: str) -> Sequence[Entry]:
        """Return what is known of an object, in each place where it is.

        :raises ResourceNotFound: it is nowhere
        """
        found = [
            entry
            for keeper in self._keepers(namespace, [*Place])
            if _has(keeper, namespace, key)
            for entry in keeper.list(namespace)
            if entry.key == key
        ]
        if not found:
            raise ResourceNotFound(KIND, f"{namespace}/{key}")
        return sorted(found, key=position)

    def delete(self, namespace: str, key: str) -> Sequence[Entry]:
        """Remove an object wherever it is, and return what it was.

        :raises ResourceNotFound: it is nowhere
        """
        found = self.find(namespace, key)
        for keeper in self._keepers(namespace, [*Place]):
            if _has(keeper, namespace, key):
                keeper.delete(namespace, key)
        return found

    def sums(self) -> dict[str, Sum]:
        """Return what the objects of each namespace come to."""
        sums: defaultdict[str, Sum] = defaultdict(Sum)
        for entry in self._all(None, [*Place]):
            sums[entry.namespace].objects += 1
            sums[entry.namespace].sizes[entry.place] += entry.size
        return dict(sorted(sums.items()))

    def facts(self) -> dict[str, Any]:
        """Return what the memory tells of itself, in bytes; nothing where there is none."""
        return {} if self._server.memory is None else self._server.memory.stats()

    def _all(self, namespace: str | None, places: Collection[str]) -> Iterator[Entry]:
        for keeper in self._keepers(namespace, places):
            with suppress(ValueError):  # the namespace is no name there, and so empty
                yield from (one for one in keeper.list(namespace) if one.place in places)

    def _keepers(
        self, namespace: str | None, places: Collection[str]
    ) -> Iterator[Memory | Artifacts]:
        """Yield who may have something in these places, and in this namespace."""
        if namespace is not None and namespace.startswith(HIDDEN):
            return
        if self._server.memory is not None and {*places} - {Place.ARTIFACT}:
            yield self._server.memory
        if Place.ARTIFACT in places and self._artifacts is not None:
            yield self._artifacts

    @cached_property
    def _artifacts(self) -> Artifacts | None:
        address = self._server.places.artifacts
        try:
            return None if address is None else attached(address)
        except Exception:
            logger.exception("artifacts are left out of what is told of objects")
            return None


def position(entry: Entry) -> Position:
    """Return where an entry stands in lists."""
    return entry.namespace, entry.key, entry.place


def _has(keeper: Memory | Artifacts, namespace: str, key: str) -> bool:
    """Tell whether an object is there; to look through a whole namespace takes longer."""
    with suppress(ValueError):  # it is no name there, and so of nothing
        return keeper.exists(namespace, key)
    return False
