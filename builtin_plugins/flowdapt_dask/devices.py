"""GPUs, which a process either sees or does not."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

EPSILON = 1e-9  #: what is lost where fractions are added and subtracted


def visible() -> list[str]:
    """Return the devices that this process may use."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [part.strip() for part in named.split(",") if part.strip()]
    return sorted(path.name.removeprefix("nvidia") for path in Path("/dev").glob("nvidia[0-9]*"))


class Devices:
    """Gives devices out. Dask counts how much of all of them is taken, but not of each.

    :param names: of the devices
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        self._free = [1.0 for _ in names]
        self._given_back = asyncio.Condition()

    @asynccontextmanager
    async def taken(self, amount: float) -> AsyncIterator[tuple[int, ...]]:
        """Yield which devices something may use, once they are free for it.

        :param amount: several whole ones, or a part of one
        """
        if not amount or amount > len(self.names) + EPSILON:  # what is not there is not hidden
            yield ()
            return
        share = min(amount, 1.0)
        async with self._given_back:
            await self._given_back.wait_for(lambda: self._fitting(amount))
            devices = self._fitting(amount)
            for device in devices:
                self._free[device] -= share
        try:
            yield devices
        finally:
            for device in devices:
                self._free[device] += share
            async with self._given_back:
                self._given_back.notify_all()

    def _fitting(self, amount: float) -> tuple[int, ...]:
        """Return devices with so much left; a part comes from the fullest one that has it."""
        share, count = min(amount, 1.0), max(1, round(amount))
        fitting = [i for i, free in enumerate(self._free) if free >= share - EPSILON]
        fitting.sort(key=lambda i: self._free[i])
        return tuple(fitting[:count]) if len(fitting) >= count else ()
