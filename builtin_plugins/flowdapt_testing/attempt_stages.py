"""Functions that fail, wait or never end, and note what they do: for the suites about attempts."""

# ruff: noqa: PLR2004 - elements have numbers

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

from flowdapt.context import get_run_context

HOUR = 3600  #: seconds of a pause that no test waits for
SOON = 90.0  #: seconds in which a test ends that waits for no pause


class Flaky(ConnectionError):
    """What a stage raises that works another time."""


def noted(folder: str, what: object) -> int:
    """Note that something is computed; return how often it has been."""
    with (Path(folder) / str(what)).open("a") as file:
        file.write("x")
        return file.tell()


def times(folder: Path) -> dict[str, int]:
    """Return how often things were computed."""
    return {file.name: file.stat().st_size for file in folder.iterdir() if file.is_file()}


def fails_twice(folder: str) -> list[int | None]:
    """Work the third time only."""
    if noted(folder, "whole") < 3:
        raise Flaky("not yet")
    context = get_run_context()
    return [context.attempt, context.item]


async def fails_twice_async(folder: str) -> list[int | None]:
    """Do what :func:`fails_twice` does."""
    return fails_twice(folder)


def each(x: int, folder: str) -> list[int]:
    """Work the first time for even numbers only."""
    if noted(folder, x) == 1 and x % 2:
        raise Flaky(x)
    return [x, get_run_context().attempt]


async def each_async(x: int, folder: str) -> list[int]:
    """Do what :func:`each` does."""
    return each(x, folder)


def never(folder: str, x: int = 0) -> None:
    """Work never."""
    noted(folder, x)
    raise Flaky("never")


def one_never(x: int, folder: str) -> int:
    """Work for all but one."""
    if x == 3:
        never(folder, x)
    return x


def breaks(kind: str, folder: str) -> None:
    """Raise something."""
    noted(folder, kind)
    kinds = {"flaky": Flaky(), "json": json.JSONDecodeError("no", "", 0), "key": KeyError()}
    raise kinds[kind]


async def waits_at(x: int, folder: str) -> int:
    """Take for ever for one element, the first time."""
    if x == 3 and noted(folder, x) == 1:
        await asyncio.sleep(HOUR)
    return x


async def waits_always(folder: str) -> None:
    """Take for ever."""
    noted(folder, "whole")
    await asyncio.sleep(HOUR)


def heeds(folder: str, x: int = 0) -> str:
    """Take until it is told that nobody wants it any more, and clean up."""
    noted(folder, "temporary")
    context, end = get_run_context(), time.monotonic() + SOON
    while not context.cancelled and time.monotonic() < end:
        time.sleep(0.005)
    (Path(folder) / "temporary").unlink()
    noted(folder, f"clean-{x}")
    return "clean"


async def heeds_async(folder: str) -> None:
    """Take for ever; when it is cancelled, note whether it can see that."""
    noted(folder, "temporary")
    try:
        await asyncio.sleep(HOUR)
    except asyncio.CancelledError:
        noted(folder, f"cancelled-{get_run_context().cancelled}")
        raise
