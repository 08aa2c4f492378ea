"""What the gateway knows of orders that Dask computes, and of what came of others."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flowdapt_workers.calls import Done, Failed, Order

from flowdapt_dask.placing import Place


@dataclass(eq=False)
class Kept:
    """A block on the cluster.

    :param address: of the worker that made it
    :param size: bytes
    :param lost: that worker is gone
    """

    future: Any
    address: str
    size: int
    lost: bool = False


@dataclass(eq=False)
class Sent:
    """An order that is not answered.

    :param things: what it has in common with other orders, by kind
    :param blocks: what it takes
    :param place: where it is computed, as far as that is known
    :param begun: it is computed now, so it has what it takes
    :param asked_at: the address of the worker where its code asked something
    """

    order: Order
    things: Mapping[str, bytes]
    blocks: Mapping[int, Kept]
    answer: asyncio.Future[tuple[Done | Failed, bool, str]]
    joined: asyncio.Event = field(default_factory=asyncio.Event)
    place: Place | None = None
    begun: bool = False
    deferred: bool = False
    asked_at: str = ""

    def move(self, place: Place | None) -> None:
        """Note where it is computed, and takes room."""
        if place is self.place:
            return
        if self.place is not None:
            self.place.take(self.taken, -1)
        self.place = place
        if self.place is not None:
            self.place.take(self.taken)

    @property
    def taken(self) -> Mapping[str, float]:
        """What it takes now: while it only waits, no processor."""
        wanted = self.order.wanted
        return {n: wanted[n] for n in wanted if n != "cpus"} if self.deferred else wanted

    def defer(self, waits: bool = True) -> None:
        """Note that it only waits from now on, or does so no more."""
        place = self.place
        self.move(None)
        self.deferred = waits
        self.move(place)

    def fail(self, error: Exception) -> None:
        """End without an answer."""
        if not self.answer.done():
            self.answer.set_exception(error)


def lost_of(blocks: Mapping[int, Kept]) -> list[int]:
    return [number for number, kept in blocks.items() if kept.lost]


def held_by(blocks: Mapping[int, Kept]) -> Counter[str]:
    """Return how many bytes of blocks are where."""
    held: Counter[str] = Counter()
    for kept in blocks.values():
        held[kept.address] += kept.size
    return held
