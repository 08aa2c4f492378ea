"""What objects there are on a cluster, by namespace and key: in the one process that knows it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from weakref import ref

from flowdapt.objects import Entry


@dataclass(frozen=True, slots=True, weakref_slot=True)
class _Kept:
    """An object.

    :param held: its bytes, or what refers to the block that they are in, which goes with it
    """

    entry: Entry
    held: Any

    def is_over(self) -> bool:
        return self.entry.expires is not None and self.entry.expires <= time.time()


class Index:
    """Objects, each with what is known of it.

    :param later: has a function called after so many seconds
    """

    def __init__(self, later: Callable[[float, Callable[[], None]], object]) -> None:
        self._later = later
        self._spaces: dict[str, dict[str, _Kept]] = {}

    def put(self, entry: Entry, held: Any, ttl: float | None) -> None:
        """Keep an object, instead of the one that was there.

        :param ttl: seconds until it is gone
        """
        kept = _Kept(entry, held)
        self._spaces.setdefault(entry.namespace, {})[entry.key] = kept
        if ttl is not None:
            later = ref(kept)  # which does not keep it where it is removed before
            self._later(ttl, lambda: self._expire(later()))

    def _expire(self, kept: _Kept | None) -> None:
        """Remove an object, unless it was replaced or removed before."""
        if kept and self._spaces.get(kept.entry.namespace, {}).get(kept.entry.key) is kept:
            self.delete(kept.entry.namespace, kept.entry.key)

    def get(self, namespace: str, key: str) -> Any:
        """Return what is held of an object; nothing where there is none."""
        kept = self._spaces.get(namespace, {}).get(key)
        return None if kept is None or kept.is_over() else kept.held

    def delete(self, namespace: str, key: str) -> None:
        """Remove an object; silent if it is not there."""
        space = self._spaces.get(namespace, {})
        space.pop(key, None)
        if not space:
            self._spaces.pop(namespace, None)

    def clear(self, namespace: str) -> None:
        """Remove a namespace with all that is in it."""
        self._spaces.pop(namespace, None)

    def entries(self, namespace: str | None) -> list[Entry]:
        """Return what is there, in one namespace or in all but those that begin with a dot."""
        if namespace is not None:
            return [kept.entry for kept in self._alive(namespace)]
        shown = [name for name in self._spaces if not name.startswith(".")]
        return [kept.entry for name in shown for kept in self._alive(name)]

    def _alive(self, namespace: str) -> Iterator[_Kept]:
        space = self._spaces.get(namespace, {})
        return (kept for kept in space.values() if not kept.is_over())

    @property
    def used(self) -> int:
        """How many bytes there are of all objects."""
        return sum(kept.entry.size for name in self._spaces for kept in self._alive(name))
