"""What becomes of workers whose units do not end although they were told to."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from flowdapt_workers.jobs import Unit
from flowdapt_workers.processes import Process

GRACE_SECONDS = 0.25  #: how long a function that is told to stop may take before it is interrupted
INTERRUPT_SECONDS = 0.35  #: how long an interrupted one may take before its worker is killed


async def insist(process: Process, numbers: Sequence[int]) -> None:
    """Interrupt units that were told to stop, and kill their worker where that is no use."""
    await asyncio.sleep(GRACE_SECONDS)
    if any(not unit.deferred for unit in _left(process, numbers)):
        process.interrupt()
    await asyncio.sleep(INTERRUPT_SECONDS)
    while left := _left(process, numbers):
        others = [unit for unit in process.units.values() if unit not in left]
        if all(u.deferred for u in others) or any(u.late or not u.deferred for u in left):
            process.kill()
            return
        # Its main thread, which is to hear of the cancelling, computes for another run.
        process.stopping = True
        await asyncio.sleep(INTERRUPT_SECONDS)


def _left(process: Process, numbers: Sequence[int]) -> list[Unit]:
    """Return those of some units that a worker has not answered."""
    return [process.units[number] for number in numbers if number in process.units]
