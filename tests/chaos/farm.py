"""User modules of the campaign: each stage and element writes down when it begins and ends."""

from __future__ import annotations

import asyncio
import os
import random
import time

from flowdapt import get_run_context


def journal(what: str) -> None:
    """Append a line, which is whole or not there: it is short, and written at once."""
    context = get_run_context()
    line = (
        f"{time.time():.6f} {context.run.uid} {context.stage} {context.item} {what} {os.getpid()}\n"
    )
    file = os.open(context.input["journal"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(file, line.encode())
    os.close(file)


def rest(longest: float) -> None:
    """Take a moment, as real work does."""
    time.sleep(random.uniform(0, longest))


def first(n: int) -> list[int]:
    """Make a list."""
    journal("begin")
    rest(0.02)
    journal("end")
    return list(range(n))


def large(n: int) -> list[bytes]:
    """Make a list that lies in shared memory."""
    journal("begin")
    made = [bytes([k % 256]) * 200_000 for k in range(n)]
    journal("end")
    return made


def measure(value: bytes) -> int:
    """Tell what an element is."""
    journal("begin")
    rest(0.02)
    journal("end")
    return value[0]


def square(number: int) -> int:
    """Compute an element."""
    journal("begin")
    rest(0.03)
    journal("end")
    return number * number


async def later(number: int) -> int:
    """Compute an element while others wait, too."""
    journal("begin")
    await asyncio.sleep(random.uniform(0, 0.05))
    journal("end")
    return number + 1


def total(numbers: list[int]) -> int:
    """Add up."""
    journal("begin")
    rest(0.02)
    journal("end")
    return sum(numbers)


def both(left: int, right: int) -> int:
    """Join two branches."""
    journal("begin")
    rest(0.02)
    journal("end")
    return left + right


def long(n: int) -> int:
    """Take so long that somebody cancels it."""
    journal("begin")
    time.sleep(30)
    journal("end")
    return n
