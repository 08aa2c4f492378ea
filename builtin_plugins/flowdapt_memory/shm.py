"""A memory for one machine: blocks in files of shared memory, which every process maps."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from flowdapt.context import Address
from flowdapt.errors import MemoryFull
from flowdapt.objects import Buffer, Entry, Memory
from flowdapt_memory.arena import Arena
from flowdapt_memory.blocks import (
    FULL,
    HEAD,
    LARGE,
    NEVER,
    Head,
    expired,
    held,
    read_head,
    write_head,
)
from flowdapt_memory.names import file_name
from flowdapt_memory.reading import Block, Reader
from flowdapt_memory.room import Room
from flowdapt_memory.segments import Segment, Segments

logger = logging.getLogger(__name__)

LOOKS = 3  #: how often a block is looked for that moves meanwhile, before everybody has to wait
FULL_SECONDS = 1.0  #: after no room could be made, how long blocks go to disk at once
SPARE = 0.1  #: of the capacity that is freed beyond what is needed, so that it is seldom needed
AT_ONCE = 100  #: blocks removed before others have their turn


class ShmMemory(Memory):
    """Blocks that all processes of this machine share, as long as the process that made it lives.

    Until it is used nothing of it is opened, and a child that was forked opens its own.

    :param folder: in shared memory; made by an :class:`~flowdapt_memory.owners.Owner`
    :param disk: for what memory has no room for
    :param capacity: bytes of memory that blocks may take
    :param quotas: bytes of memory for the blocks of a namespace, by name; ``*`` for all others
    """

    def __init__(
        self, folder: str, disk: str, *, capacity: int, quotas: Mapping[str, int] | None = None
    ) -> None:
        self.folder, self.disk, self.capacity = folder, disk, capacity
        self.quotas = dict(quotas or {})
        facts = {"folder": folder, "disk": disk, "capacity": capacity, "quotas": self.quotas}
        self.address = Address(f"{__name__}:ShmMemory", json.dumps(facts))
        self._pid = 0
        self._full_until = 0.0

    @property
    def arena(self) -> Arena:
        """The folders, as this process has them open.

        :raises ConnectionError: they are gone
        """
        if self._pid != os.getpid():
            try:
                self._arena = Arena(self.folder, self.disk)
            except FileNotFoundError as error:
                raise self._gone() from error
            self._segments, self._reader = Segments(self._arena), Reader()
            self._pid = os.getpid()
        return self._arena

    def close(self) -> None:
        """Close what this process has open; arrays that it was given stay as they are."""
        if self._pid == os.getpid():
            self._segments.close()
            self._arena.close()
            self._pid = 0

    def _gone(self) -> ConnectionError:
        # Not a FileNotFoundError: users take that for an object that is not there.
        return ConnectionError(
            f"the memory at {self.folder} is gone: the server that it belonged to has ended"
        )

    # Blocks ----------------------------------------------------------------------------------

    def put(
        self,
        namespace: str,
        key: str,
        pieces: Iterable[Buffer],
        *,
        size: int,
        type: str = "",  # noqa: A002 - of an Entry
        ttl: float | None = None,
    ) -> None:
        path, now = self.arena.path(namespace, key), time.time()
        expires = None if ttl is None else now + ttl
        facts = namespace, key, type[:200]
        first = write_head(*facts, size=size, created=now, expires=expires)
        size += len(first)
        new = _New(namespace, key, path, [first, *pieces], size, expires or NEVER)
        try:
            if not self._written(new):
                self._write_to_disk(new)
        except FileNotFoundError as error:
            raise self._gone() from error

    def get(self, namespace: str, key: str, *, writable: bool = False) -> memoryview:
        path = self.arena.path(namespace, key)
        block = self._read(path, writable=writable)
        if block is None:
            raise KeyError(f"no object {key!r} in the memory of namespace {namespace!r}")
        return block.memory

    def exists(self, namespace: str, key: str) -> bool:
        return self._find(self.arena.path(namespace, key)) is not None

    def delete(self, namespace: str, key: str) -> None:
        path = self.arena.path(namespace, key)
        with self.arena.changing():
            self.arena.drop(path)

    def clear(self, namespace: str) -> None:
        arena, folder = self.arena, file_name("namespace", namespace)
        while names := [file.name for file in arena.files(folder)]:
            for first in range(0, len(names), AT_ONCE):
                with arena.changing():
                    for name in names[first : first + AT_ONCE]:
                        arena.drop(f"{folder}/{name}")
        with arena.changing():
            for parent in (arena.objects, arena.on_disk):
                with suppress(OSError):  # there is none, or somebody has put something there
                    os.rmdir(f"{parent}/{folder}")

    def list(self, namespace: str | None = None) -> Iterator[Entry]:
        arena = self.arena
        if namespace is None:
            folders = [name for name in sorted(arena.namespaces()) if not name.startswith("%2E")]
        else:
            folders = [file_name("namespace", namespace)]
        now = time.time()
        for folder in folders:
            seen = set()
            for file in arena.files(folder):
                if file.name in seen:
                    continue
                seen.add(file.name)
                with suppress(FileNotFoundError):  # it is being moved or removed
                    if not expired(file.stat(), now) and (found := _head_of(file.path)):
                        in_memory = file.path.startswith(arena.objects)
                        yield found.entry("memory" if in_memory else "disk")

    def stats(self) -> dict[str, Any]:
        arena = self.arena
        in_memory = [size for folder in _folders(arena.objects) for size in _sizes(folder)]
        on_disk = [size for folder in _folders(arena.on_disk) for size in _sizes(folder)]
        return {
            "capacity": self.capacity,
            "used": arena.used,
            "free": sum(_sizes(arena.free)),
            "objects": len(in_memory) + len(on_disk),
            "on_disk": sum(on_disk),
        }

    # Looking ---------------------------------------------------------------------------------

    def _find(self, path: str) -> str | None:
        now = time.time()
        for _ in range(LOOKS - 1):
            if file := self._arena.found(path, now):
                return file
        with self._arena.changing():  # nothing moves now: it is here or nowhere
            return self._arena.found(path, now)

    def _read(self, path: str, *, writable: bool) -> Block | None:
        while file := self._find(path):
            with suppress(FileNotFoundError):
                if block := self._reader.read(file, writable=writable):
                    return block
        return None

    # Writing ---------------------------------------------------------------------------------

    def _written(self, new: _New) -> bool:
        """Write a block to memory, and tell whether there was room for it."""
        if not self._within_quota(new.namespace, new.size):
            return False
        segment = self._segments.claim(new.size) if new.size >= LARGE else None
        if segment is None and not self._has_room(new.size):
            return False
        try:
            if new.size >= LARGE:
                self._write_segment(segment or self._segments.fresh(), new)
            else:
                self._write_small(new)
        except OSError as error:
            if error.errno not in FULL:
                raise
            self._full_until = time.monotonic() + FULL_SECONDS
            return False
        return True

    def _within_quota(self, namespace: str, size: int) -> bool:
        """Make room for so many bytes within the quota of a namespace; tell whether there is."""
        quota = self.quotas.get(namespace, self.quotas.get("*"))
        if quota is None or namespace.startswith("."):
            return True
        room, folder = Room(self._arena), file_name("namespace", namespace)
        over = room.taken(folder) + size - quota
        return over <= 0 or (size <= quota and room.make_in(folder, over) >= over)

    def _has_room(self, size: int) -> bool:
        """Make room for so many bytes within the capacity; tell whether there is."""
        over = self._arena.used + size - self.capacity
        if over <= 0:
            return True
        if size > self.capacity or time.monotonic() < self._full_until:
            return False
        if Room(self._arena).make(over + int(SPARE * self.capacity)) >= over:
            return True
        self._full_until = time.monotonic() + FULL_SECONDS
        return False

    def _write_small(self, new: _New) -> None:
        file = self._arena.fresh(self._arena.new)
        size = _write_file(file, [b"".join(new.parts)], new.expires)
        with self._arena.changing():
            self._arena.publish(file, new.path, size)

    def _write_segment(self, segment: Segment, new: _New) -> None:
        before = segment.held
        try:
            segment.write(new.parts, new.expires)
            with self._arena.changing():
                self._arena.publish(segment.file, new.path, segment.held - before)
        except BaseException:
            self._segments.discard(segment)
            with self._arena.changing():
                self._arena.add_used(-before)
            raise
        self._segments.give_back(segment)

    def _write_to_disk(self, new: _New) -> None:
        file = self._arena.fresh(self._arena.new_on_disk)
        try:
            _write_file(file, new.parts, new.expires)
        except OSError as error:
            raise MemoryFull(
                f"object {new.key!r} of {new.size} bytes fits neither into the memory, which has "
                f"{self.capacity} bytes, nor on disk in {self.disk} ({error.strerror}); free some "
                "space, or raise the capacity in the settings under `memory`"
            ) from error
        with self._arena.changing():
            self._arena.publish_on_disk(file, new.path)


class _New(NamedTuple):
    """A block that is to be written.

    :param size: of its file
    :param expires: seconds since 1970
    """

    namespace: str
    key: str
    path: str
    parts: list[Any]
    size: int
    expires: float


def _write_file(file: str, parts: list[Any], expires: float) -> int:
    """Write a file of its own; return how many bytes it takes."""
    fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        for part in parts:
            view = memoryview(part).cast("B")
            while view:
                view = view[os.write(fd, view) :]
        os.utime(fd, (time.time(), expires))
        return held(os.fstat(fd))
    except BaseException:
        os.unlink(file)
        raise
    finally:
        os.close(fd)


def _head_of(file: str) -> Head | None:
    with open(file, "rb") as opened:
        return read_head(opened.read(HEAD))


def _folders(parent: str) -> list[str]:
    with os.scandir(parent) as entries:
        return [entry.path for entry in entries]


def _sizes(folder: str) -> Iterator[int]:
    """Yield how many bytes each file of a folder takes, of those that do not go meanwhile."""
    with suppress(FileNotFoundError), os.scandir(folder) as files:
        for file in files:
            with suppress(FileNotFoundError):
                yield held(file.stat())
