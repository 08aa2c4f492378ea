"""What is counted and measured at present, each value under its attributes."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from math import inf
from typing import ClassVar

Attributes = tuple[tuple[str, str], ...]  #: pairs of name and value, in the order of their names
NONE: Attributes = ()

#: How many sets of attributes one instrument has; what comes with others is summed up under
#: :data:`REST`. Names in attributes are chosen by users, so nothing else would limit them.
MOST_SETS = 50
REST: Attributes = (("otel.metric.overflow", "true"),)


def attributes(values: Mapping[str, str]) -> Attributes:
    """Return attributes that are equal where the values are."""
    return tuple(sorted(values.items()))


class Instrument:
    """A named measure.

    :param unit: as UCUM writes it, such as ``s``, ``ms``, ``By`` or ``1``
    :param about: one line for people
    :param quiet: whether it is kept only where it changed; for those with many sets of attributes
    """

    kind: ClassVar[str]
    width = 1  #: numbers that one value is made of
    bounds: Sequence[float] = ()  #: of a histogram's buckets

    def __init__(self, name: str, *, unit: str, about: str, quiet: bool = False) -> None:
        self.name, self.unit, self.about, self.quiet = name, unit, about, quiet
        self.rows: dict[Attributes, list[float]] = {}  #: each of :attr:`width` numbers

    def row(self, of: Attributes) -> list[float]:
        """Return the numbers under these attributes, to be changed in place."""
        found = self.rows.get(of)
        if found is None:
            if len(self.rows) >= MOST_SETS and of != REST:
                return self.row(REST)
            found = self.rows[of] = self.first()
        return found

    def first(self) -> list[float]:
        """Return what a value begins with."""
        return [0.0]


class Gauge(Instrument):
    """A value that goes up and down."""

    kind = "gauge"

    def set(self, value: float, of: Attributes = NONE) -> None:
        """Note what the value is now."""
        self.row(of)[0] = value

    def add(self, amount: float, of: Attributes = NONE) -> None:
        """Note by how much the value changed."""
        self.row(of)[0] += amount


class Counter(Gauge):
    """A value that only goes up."""

    kind = "counter"


class Histogram(Instrument):
    """How values are spread: how many there were up to each bound.

    :param bounds: upper ends, rising, each within its bucket; one more bucket holds what is beyond
    """

    kind = "histogram"
    #: Where the numbers of a row stand; the buckets follow.
    COUNT, SUM, LEAST, MOST, BUCKETS = range(5)

    def __init__(
        self, name: str, bounds: Sequence[float], *, unit: str, about: str, quiet: bool = False
    ) -> None:
        super().__init__(name, unit=unit, about=about, quiet=quiet)
        self.bounds = list(bounds)
        self.width = self.BUCKETS + len(bounds) + 1

    def first(self) -> list[float]:
        """Return what a value begins with."""
        return [0.0, 0.0, inf, -inf, *[0.0] * (len(self.bounds) + 1)]

    def record(self, value: float, of: Attributes = NONE) -> None:
        """Note one value."""
        row = self.row(of)
        row[0] += 1
        row[1] += value
        row[2] = min(row[2], value)
        row[3] = max(row[3], value)
        row[self.BUCKETS + bisect_left(self.bounds, value)] += 1
