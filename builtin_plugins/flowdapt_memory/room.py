"""Makes room in memory: what nobody used for long goes to disk, what is free to the system."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from flowdapt_memory.arena import Arena
from flowdapt_memory.blocks import FULL, held, is_large, private


@dataclass(frozen=True, slots=True)
class _Found:
    """A file, and where it is; ``path`` is absent for one that is free."""

    file: str
    path: str | None
    status: os.stat_result


class Room:
    """Frees memory of one arena; one process at a time does."""

    def __init__(self, arena: Arena) -> None:
        self._arena = arena

    def make(self, size: int) -> int:
        """Free so many bytes, if that can be; return how many were freed.

        Free files go first, then the blocks that were not asked for the longest, to disk. What
        somebody has mapped stays: taking it away would free nothing.
        """
        with self._alone():
            return self._freed(size, [*self._free(), *self._oldest(self._blocks())])

    def make_in(self, namespace: str, size: int) -> int:
        """Free so many bytes of those that a namespace takes.

        :param namespace: its folder
        """
        with self._alone():
            return self._freed(size, self._oldest(self._blocks_of(namespace)))

    def taken(self, namespace: str) -> int:
        """Return how many bytes of memory the blocks of a namespace take."""
        return sum(held(found.status) for found in self._blocks_of(namespace))

    @contextmanager
    def _alone(self) -> Iterator[None]:
        # A file of its own: while a block is copied to disk, the others go on to change things.
        with open(f"{self._arena.folder}/room", "ab", opener=private) as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
            finally:
                fcntl.flock(lock, fcntl.LOCK_UN)  # a child may have it open, too

    def _freed(self, size: int, candidates: list[_Found]) -> int:
        freed = 0
        for found in candidates:
            if freed >= size:
                break
            try:
                freed += self._take(found)
            except FileNotFoundError:  # it went by itself
                continue
            except OSError as error:
                if error.errno not in FULL:
                    raise
                break  # there is no room on disk
        return freed

    # What there is ---------------------------------------------------------------------------

    def _free(self) -> Iterator[_Found]:
        with os.scandir(self._arena.free) as entries:
            found = [_Found(entry.path, None, entry.stat()) for entry in entries]
        return iter(sorted(found, key=lambda one: one.status.st_ctime))

    def _blocks(self) -> Iterator[_Found]:
        for namespace in os.scandir(self._arena.objects):
            yield from self._blocks_of(namespace.name)

    def _blocks_of(self, namespace: str) -> Iterator[_Found]:
        with (
            suppress(FileNotFoundError),
            os.scandir(f"{self._arena.objects}/{namespace}") as entries,
        ):
            for entry in entries:
                with suppress(FileNotFoundError):
                    yield _Found(entry.path, f"{namespace}/{entry.name}", entry.stat())

    @staticmethod
    def _oldest(found: Iterator[_Found]) -> list[_Found]:
        return sorted(found, key=lambda one: one.status.st_atime)

    # Taking it away --------------------------------------------------------------------------

    def _take(self, found: _Found) -> int:
        """Free the memory of a file; return how much that is."""
        fd = os.open(found.file, os.O_RDWR | os.O_CLOEXEC)
        try:
            if is_large(os.fstat(fd)):
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            status = os.fstat(fd)
            if status.st_ino != found.status.st_ino:
                return 0
            if found.path is None:
                return self._let_go(fd, found.file)
            return self._spill(fd, found.path, status)
        except BlockingIOError:  # somebody has it mapped
            return 0
        finally:
            fcntl.flock(fd, fcntl.LOCK_UN)  # a child that was forked meanwhile has it open, too
            os.close(fd)

    def _let_go(self, fd: int, file: str) -> int:
        """Remove a free file, if it still is."""
        with self._arena.changing():
            os.unlink(file)
            status = os.fstat(fd)
            if status.st_nlink:  # it is a block, too; somebody was killed as it was replaced
                return 0
            self._arena.add_used(-held(status))
        os.truncate(fd, 0)  # who wrote it has it mapped, and so its memory would stay
        return held(status)

    def _spill(self, fd: int, path: str, status: os.stat_result) -> int:
        """Move a block to disk, unless another takes its place meanwhile."""
        arena, file = self._arena, self._arena.fresh(self._arena.new_on_disk)
        try:
            self._copy(fd, file, status)
            with arena.changing():
                if os.stat(f"{arena.objects}/{path}").st_ino != status.st_ino:
                    return 0
                arena.publish_on_disk(file, path)
                if is_large(status):  # which leaves it free
                    os.unlink(f"{arena.free}/{status.st_ino}")
                    arena.add_used(-held(status))
            if is_large(status):
                os.truncate(fd, 0)
            return held(status)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(file)

    @staticmethod
    def _copy(fd: int, file: str, status: os.stat_result) -> None:
        with open(fd, "rb", closefd=False) as source, open(file, "xb", opener=private) as target:
            shutil.copyfileobj(source, target, 2**20)
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
