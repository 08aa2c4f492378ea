"""What instruments showed over the last hours: packed numbers, read as points."""

from __future__ import annotations

import heapq
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice, repeat
from typing import Any

from flowdapt_metrics.instruments import Attributes, Histogram, Instrument

NANOSECONDS = 10**9  #: in a second
Point = dict[str, Any]


@dataclass(slots=True)
class Series:
    """One value over time: times in nanoseconds, and a row of numbers for each."""

    width: int
    times: array[int] = field(default_factory=lambda: array("q"))
    numbers: array[float] = field(default_factory=lambda: array("d"))

    def append(self, time: int, row: list[float]) -> None:
        """Add a row; it is later than all before it."""
        self.times.append(time)
        self.numbers.extend(row)

    def last(self) -> list[float]:
        """Return the latest row, or nothing."""
        return list(self.numbers[-self.width :])

    def forget(self, before: int) -> None:
        """Drop the rows that are older than that."""
        gone = bisect_left(self.times, before)
        del self.times[:gone]
        del self.numbers[: gone * self.width]

    def newest_first(self, start: int, end: int) -> Iterator[tuple[int, array[float]]]:
        """Yield rows with their times; those that are there when it is asked for the first."""
        low, high = bisect_left(self.times, start), bisect_right(self.times, end)
        # A copy, because old rows go while the reply is made piece by piece; packed, it is small.
        times = self.times[low:high]
        numbers = self.numbers[low * self.width : high * self.width]
        for i in range(len(times) - 1, -1, -1):
            yield times[i], numbers[i * self.width : (i + 1) * self.width]


class History:
    """All series, for a limited time.

    :param seconds: how long a row is kept
    :param begun: since when it is counted, in nanoseconds since 1970
    """

    def __init__(self, *, seconds: float, begun: int) -> None:
        self.nanoseconds, self.begun = int(seconds * NANOSECONDS), begun
        self.instruments: dict[str, Instrument] = {}
        self._series: dict[str, dict[Attributes, Series]] = {}

    def sample(self, instruments: Iterable[Instrument], time: int) -> None:
        """Keep what the instruments show at present, and drop what is too old."""
        for instrument in instruments:
            self.instruments[instrument.name] = instrument
            of = self._series.setdefault(instrument.name, {})
            for attributes, row in instrument.rows.items():
                series = of.setdefault(attributes, Series(instrument.width))
                if not (instrument.quiet and series.last() == row):
                    series.append(time, row)
                series.forget(time - self.nanoseconds)

    def points(
        self, name: str, *, start: int = 0, end: int = 2**63 - 1, most: int | None = None
    ) -> Iterator[Point]:
        """Yield the points of a metric, newest first over all its attributes.

        :param start: in nanoseconds; points sampled then are among them
        :param end: likewise
        :param most: of how many there are at most
        """
        if name not in self.instruments:
            return
        parts = [
            zip(repeat(attributes), series.newest_first(start, end))
            for attributes, series in self._series[name].items()
        ]
        rows = heapq.merge(*parts, key=lambda part: -part[1][0])
        for attributes, (time, row) in islice(rows, most):
            yield self._point(self.instruments[name], time, dict(attributes), row)

    def _point(
        self, instrument: Instrument, time: int, attributes: Mapping[str, str], row: array[float]
    ) -> Point:
        # The start is a number for gauges too, or the published Python client fails.
        times = {"start_time_unix_nano": self.begun, "time_unix_nano": time}
        if not isinstance(instrument, Histogram):
            return {"attributes": attributes, **times, "value": _plain(row[0])}
        count = int(row[Histogram.COUNT])
        return {
            "attributes": attributes,
            **times,
            "count": count,
            "bucket_counts": [int(number) for number in row[Histogram.BUCKETS :]],
            "explicit_bounds": instrument.bounds,
            "sum": row[Histogram.SUM],
            "min": row[Histogram.LEAST] if count else 0.0,  # clients take nothing but numbers
            "max": row[Histogram.MOST] if count else 0.0,
        }


def _plain(number: float) -> float:
    """Return a whole number as one."""
    return int(number) if number.is_integer() else number
