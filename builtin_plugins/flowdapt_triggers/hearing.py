"""Which rules an event may meet, of many, without asking them all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from flowdapt.events import Event
    from flowdapt.triggers import EventRule

K = TypeVar("K")

_ANY = None  #: stands for every type, and every workflow


class Hearing(Generic[K]):
    """Keys of rules, by the types of events and the workflows that these are about."""

    def __init__(self) -> None:
        self._keys: dict[tuple[str | None, str | None], dict[K, None]] = {}
        self._places: dict[K, list[tuple[str | None, str | None]]] = {}

    def add(self, key: K, rule: EventRule) -> None:
        """Have a rule found under its key."""
        types: Iterable[str | None] = rule.types or (_ANY,)
        places = [(kind, name) for kind in types for name in (rule.workflows or (_ANY,))]
        self._places[key] = places
        for place in places:
            self._keys.setdefault(place, {})[key] = None

    def remove(self, key: K) -> None:
        """Have it found no more."""
        for place in self._places.pop(key, ()):
            del self._keys[place][key]
            if not self._keys[place]:
                del self._keys[place]

    def types(self) -> frozenset[str] | None:
        """Return the types of events that anybody wants; nothing where somebody wants all."""
        kinds = {kind for kind, _ in self._keys}
        return None if _ANY in kinds else frozenset(kind for kind in kinds if kind is not None)

    def of(self, event: Event) -> Iterator[K]:
        """Yield the keys of the rules that an event may meet."""
        about = event.workflow
        if about is None and isinstance(event.data, Mapping):
            about = event.data.get("workflow")
        names = (_ANY, about) if isinstance(about, str) else (_ANY,)
        for kind in (event.type, _ANY):
            for name in names:
                yield from self._keys.get((kind, name), ())
