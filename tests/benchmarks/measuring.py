"""What the lines of the benchmark share: figures, and times taken in turns."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

CORES = len(os.sched_getaffinity(0))


@dataclass(frozen=True)
class Figure:
    """One measured line.

    :param value: what is compared with the target, mostly a ratio of times
    :param target: absent where the figure only informs
    :param at_least: whether more is better
    :param facts: what the value was made of, with units in the names
    """

    name: str
    value: float
    target: float | None = None
    at_least: bool = False
    unit: str = "x"
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def met(self) -> bool | None:
        """Whether the target is met, where there is one."""
        if self.target is None:
            return None
        return self.value >= self.target if self.at_least else self.value <= self.target

    def line(self) -> str:
        """Return the figure for people."""
        verdict = {True: "met", False: "MISSED", None: ""}[self.met]
        sign = ">=" if self.at_least else "<="
        target = "" if self.target is None else f"{sign} {self.target:g}"
        facts = ", ".join(f"{key} {shown(value)}" for key, value in self.facts.items())
        value = f"{shown(self.value)} {self.unit}"
        return f"{self.name:32} {value:>14}  {target:>9}  {verdict:6}  {facts}"


def shown(value: Any) -> str:
    """Return a number with three digits that mean something, anything else as it is."""
    return f"{value:,.4g}" if isinstance(value, float) else f"{value}"


def seconds(work: Callable[[], object]) -> float:
    """Return how long one call takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


async def seconds_of(work: Callable[[], Awaitable[object]]) -> float:
    """Return how long one awaited call takes."""
    begun = time.perf_counter()
    await work()
    return time.perf_counter() - begun


@dataclass(frozen=True)
class Pairs:
    """Times of ours and of a floor, taken in turns so that both meet the same load."""

    ours: list[float]
    floor: list[float]

    @property
    def ratio(self) -> float:
        """The median of ours / floor over the pairs."""
        return statistics.median(o / f for o, f in zip(self.ours, self.floor, strict=True))

    @property
    def ours_s(self) -> float:
        """The median of ours."""
        return statistics.median(self.ours)

    @property
    def floor_s(self) -> float:
        """The median of the floor."""
        return statistics.median(self.floor)


async def in_turns(
    ours: Callable[[], Awaitable[object]], floor: Callable[[], object], repeat: int
) -> Pairs:
    """Time ours and the floor in turns, ``repeat`` times after one turn that does not count."""
    pairs = [(await seconds_of(ours), seconds(floor)) for _ in range(repeat + 1)][1:]
    return Pairs([pair[0] for pair in pairs], [pair[1] for pair in pairs])
