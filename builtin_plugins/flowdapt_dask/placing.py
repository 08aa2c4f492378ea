"""Which worker an order goes to.

Dask sends a task to where its arguments are and evens out the load once a second, which is too
seldom for elements of a mapped stage. So as long as a worker has room, the gateway says where an
order is computed. The rest is up to Dask, which also has others' tasks in view.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from flowdapt.executors import Node

EPSILON = 1e-6  #: what is lost where fractions are added and subtracted


@dataclass(eq=False)
class Place:
    """A Dask worker that takes orders.

    :param has: amounts by resource
    :param processes: how many compute there
    :param running: it takes more, and is neither short of memory nor about to go
    """

    address: str
    name: str
    has: Mapping[str, float]
    taken: dict[str, float] = field(default_factory=dict)
    processes: int = 0
    running: bool = True

    def free(self, name: str) -> float:
        """Return how much is not taken."""
        return self.has.get(name, 0.0) - self.taken.get(name, 0.0)

    def has_room(self, wanted: Mapping[str, float]) -> bool:
        """Tell whether it has as much now."""
        enough = all(self.free(name) + EPSILON >= amount for name, amount in wanted.items())
        return enough and self.running

    def take(self, wanted: Mapping[str, float], sign: int = 1) -> None:
        """Note that an order takes something, or gives it back."""
        for name, amount in wanted.items():
            self.taken[name] = self.taken.get(name, 0.0) + sign * amount

    @property
    def node(self) -> Node:
        """The worker, as the server sees it."""
        free = {name: max(0.0, round(self.free(name), 6)) for name in self.has}
        return Node(self.name, True, dict(self.has), free, self.processes)


def chosen(
    places: Mapping[str, Place], wanted: Mapping[str, float], held: Mapping[str, int]
) -> Place | None:
    """Return where an order is computed best; nothing where none has room.

    :param held: how many bytes of what it takes are where, by address
    """
    roomy = [place for place in places.values() if place.has_room(wanted)]
    return max(
        roomy,
        key=lambda place: (held.get(place.address, 0), place.free("cpus"), place.address),
        default=None,
    )
