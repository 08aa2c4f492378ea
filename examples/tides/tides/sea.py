"""How high the water stands: the sum of what the moon does and what the sun does."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import cos, radians

EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
STEP = 600  #: seconds between two looks at the water; it never rises and falls within so few
MOON, SUN = 28.984104, 30.0  #: degrees an hour that their tides go through


@dataclass(frozen=True)
class Place:
    """A place at the sea.

    :param moon: how much the moon lifts the water, in metres, and at which degree
    :param sun: the same of the sun
    """

    moon: tuple[float, float]
    sun: tuple[float, float]

    def height(self, seconds: float) -> float:
        """Return how high the water stands, in metres, so many seconds after the epoch."""
        hours = seconds / 3600
        lifts = ((*self.moon, MOON), (*self.sun, SUN))
        return sum(lift * cos(radians(speed * hours - phase)) for lift, phase, speed in lifts)

    def highs(self, after: datetime) -> Iterator[datetime]:
        """Yield when the water is highest, to the second, from the first time after this one."""
        # On a grid that is the same whoever asks, so that each time is found as the same second.
        step = int((after - EPOCH).total_seconds() // STEP) - 1
        while True:
            before, middle, behind = (self.height(STEP * (step + i)) for i in range(3))
            if before < middle >= behind:
                seconds = range(STEP * step, STEP * (step + 2))
                high = EPOCH + timedelta(seconds=seconds[bisect(seconds, 0, key=self._falls)])
                if high > after:
                    yield high
            step += 1

    def _falls(self, seconds: int) -> bool:
        """Tell whether the water is no higher a second later."""
        return self.height(seconds + 1) <= self.height(seconds)


PLACES = {
    "Heligoland": Place(moon=(1.1, 312.0), sun=(0.28, 20.0)),
    "Saint-Malo": Place(moon=(3.7, 177.0), sun=(1.4, 229.0)),
}
