"""The time, as triggers know it: of the wall clock, which may be set forward and back."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Protocol

from flowdapt.resources import now

LONGEST_SECONDS = 10.0  #: of a sleep, because nobody tells when the clock was set


class Clock(Protocol):
    """What tells the time, and waits for it; tests have one that they set themselves."""

    def now(self) -> datetime:
        """Return the present time, in UTC."""

    async def sleep(self, seconds: float) -> None:
        """Wait for so long."""


class WallClock:
    """The clock of this machine."""

    def now(self) -> datetime:
        """Return the present time, in UTC."""
        return now()

    async def sleep(self, seconds: float) -> None:
        """Wait for so long, whatever becomes of the clock."""
        await asyncio.sleep(seconds)


def seconds_until(clock: Clock, time: datetime) -> float:
    """Return how long it may be slept for a time to come; it may have come late by then."""
    return min(max(0.0, (time - clock.now()) / timedelta(seconds=1)), LONGEST_SECONDS)
