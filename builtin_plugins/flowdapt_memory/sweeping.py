"""Removes what nobody needs any more from a memory: now and then, in the server."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from flowdapt.services import Service
from flowdapt_memory.arena import Arena
from flowdapt_memory.blocks import expired, held
from flowdapt_memory.shm import ShmMemory

logger = logging.getLogger(__name__)

SWEEP_SECONDS = 5.0  #: between two sweeps
FREE_SECONDS = 60.0  #: how long memory that became free is kept, to be written again
ABANDONED_SECONDS = 60.0  #: after which a file that nobody writes any more is removed
EXACT = 2**20  #: bytes by which the count of those in use may be wrong


class MemoryService(Service):
    """Sweeps the memory of its server."""

    order = 10

    async def start(self) -> None:
        """Begin to sweep, if the memory is one of ours."""
        self._task = asyncio.create_task(self._sweep(), name="memory")

    async def stop(self) -> None:
        """End."""
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _sweep(self) -> None:
        memory: Any = self.server.memory
        while isinstance(memory, ShmMemory):
            await asyncio.sleep(SWEEP_SECONDS)
            try:
                await asyncio.to_thread(sweep, memory.arena, time.time())
            except Exception:
                logger.exception("the memory could not be swept")


def sweep(arena: Arena, now: float) -> None:
    """Remove what expired, what killed writers left, and what is free for long; count the rest.

    :param now: seconds since 1970
    """
    _remove_expired(arena, now)
    for folder, seconds in (
        (arena.new, ABANDONED_SECONDS),
        (arena.new_on_disk, ABANDONED_SECONDS),
        (arena.free, FREE_SECONDS),
    ):
        for file in _files(folder):
            with suppress(FileNotFoundError, BlockingIOError):
                if file.stat().st_ctime < now - seconds:
                    _remove(arena, file.path)
    _count(arena)


def _remove_expired(arena: Arena, now: float) -> None:
    for folder in arena.namespaces():
        for file in arena.files(folder):
            with suppress(FileNotFoundError):
                if expired(file.stat(), now):
                    with arena.changing():
                        if expired(os.stat(file.path), now):  # nobody put another there
                            arena.drop(f"{folder}/{file.name}")


def _remove(arena: Arena, path: str) -> None:
    """Remove a file that is no block, if nobody writes or reads it."""
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with arena.changing():
            os.unlink(path)
            last = os.fstat(fd).st_nlink == 0  # else it is a block, too
        if last:
            os.truncate(fd, 0)  # who wrote it has it mapped, and so its memory would stay
    finally:
        fcntl.flock(fd, fcntl.LOCK_UN)  # a child that was forked meanwhile has it open, too
        os.close(fd)


def _count(arena: Arena) -> None:
    """Correct the count of bytes in use: who is killed may leave it wrong."""
    before = arena.used
    folders = [arena.new, arena.free, *(entry.path for entry in os.scandir(arena.objects))]
    counted = _sum(folders, lambda file: held(file.stat()))
    with arena.changing():
        # What changed while it was counted may be in the sum or not.
        if abs(counted - before) > EXACT + abs(arena.used - before):
            arena.add_used(counted - before)


def _sum(folders: list[str], size: Callable[[os.DirEntry[str]], int]) -> int:
    found = 0
    for folder in folders:
        for file in _files(folder):
            with suppress(FileNotFoundError):
                found += size(file)
    return found


def _files(folder: str) -> Iterator[os.DirEntry[str]]:
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        yield from entries
