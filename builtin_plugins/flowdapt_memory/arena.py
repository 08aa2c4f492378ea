"""The folders that the processes of one server share, and what happens in them under a lock.

``objects/<namespace>/<key>`` are the blocks, ``new`` those that are being written, and ``free``
those that were replaced or deleted, under the number of their inode: who wrote one finds it there,
and may write the next block into the same memory. ``lock`` holds how many bytes all of them take.
Blocks that memory has no room for are in a second folder, on disk.

A change is one rename under the lock, so there is no state in between, and a process that is killed
leaves at most a file in ``new``.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from flowdapt_memory.blocks import expired, held, is_large
from flowdapt_memory.names import file_name

OBJECTS, NEW, FREE = "objects", "new", "free"


class Arena:
    """One process's access to the folders.

    :param folder: in shared memory
    :param disk: for what memory has no room for
    """

    def __init__(self, folder: str, disk: str) -> None:
        self.folder = folder
        self.objects, self.new = f"{folder}/{OBJECTS}", f"{folder}/{NEW}"
        self.free = f"{folder}/{FREE}"
        self.on_disk, self.new_on_disk = f"{disk}/{OBJECTS}", f"{disk}/{NEW}"
        self._numbers = itertools.count()
        self._thread_lock = threading.Lock()
        opened = os.open(f"{folder}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._file = os.fdopen(opened, "r+b", buffering=0)
        self._lock = self._file.fileno()
        # A child would hold the lock on when this process is killed; it opens its own.
        os.register_at_fork(after_in_child=self._file.close)

    def close(self) -> None:
        """Let go of the lock."""
        self._file.close()

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Keep all other processes, and threads, from changing anything meanwhile."""
        with self._thread_lock:  # threads share the descriptor, and so the lock
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX)  # a stage may be interrupted right after it
                yield
            finally:
                fcntl.flock(self._lock, fcntl.LOCK_UN)

    # Bytes in use ----------------------------------------------------------------------------

    @property
    def used(self) -> int:
        """How many bytes of memory are taken; while others change something, nearly so."""
        return int.from_bytes(os.pread(self._lock, 8, 0), "little", signed=True)

    def add_used(self, size: int) -> None:
        """Note that so many more bytes are taken; under the lock."""
        if size:
            os.pwrite(self._lock, (self.used + size).to_bytes(8, "little", signed=True), 0)

    # Names -----------------------------------------------------------------------------------

    def path(self, namespace: str, key: str) -> str:
        """Return where a block is within :attr:`objects` and within :attr:`on_disk`."""
        return f"{file_name('namespace', namespace)}/{file_name('key', key)}"

    def fresh(self, folder: str) -> str:
        """Return a path for a file that is to be written."""
        return f"{folder}/{os.getpid()}-{threading.get_native_id()}-{next(self._numbers)}"

    # Changes, under the lock -----------------------------------------------------------------

    def publish(self, file: str, path: str, size: int) -> None:
        """Make a file from :attr:`new` the block at a path.

        :param size: bytes that are to be added to those in use
        """
        target = f"{self.objects}/{path}"
        try:
            old = os.stat(target)
        except FileNotFoundError:
            pass
        else:
            if is_large(old):  # it stays where it is until it is replaced, so nobody misses it
                self._set_free(target, old)
            else:
                size -= held(old)
        _moved(file, target)
        self.add_used(size)
        _unlinked(f"{self.on_disk}/{path}")

    def publish_on_disk(self, file: str, path: str) -> None:
        """Make a file from :attr:`new_on_disk` the block at a path."""
        _moved(file, f"{self.on_disk}/{path}")
        self._drop_from_memory(f"{self.objects}/{path}")

    def drop(self, path: str) -> None:
        """Remove the block at a path, if there is one."""
        self._drop_from_memory(f"{self.objects}/{path}")
        _unlinked(f"{self.on_disk}/{path}")

    def _drop_from_memory(self, file: str) -> None:
        try:
            old = os.stat(file)
        except FileNotFoundError:
            return
        if is_large(old):
            self._set_free(file, old)
        else:
            self.add_used(-held(old))
        os.unlink(file)

    def _set_free(self, file: str, status: os.stat_result) -> None:
        """Have a file that is about to lose its name be free; not by a rename, see below."""
        with suppress(FileExistsError):
            # Somebody was killed between this and what comes next. To rename one name of a file to
            # another name of it would do nothing at all, and so leave both.
            os.link(file, f"{self.free}/{status.st_ino}")

    # Looking ---------------------------------------------------------------------------------

    def found(self, path: str, now: float) -> str | None:
        """Return the file of a block, in memory or else on disk; nothing if it is not there.

        Where it moves from one to the other meanwhile, it may be missed; not under the lock.
        """
        for folder in (self.objects, self.on_disk):
            with suppress(FileNotFoundError):
                file = f"{folder}/{path}"
                return None if expired(os.stat(file), now) else file
        return None

    def namespaces(self) -> set[str]:
        """Return the folders of namespaces that there are."""
        found = set()
        for folder in (self.objects, self.on_disk):
            found |= {entry.name for entry in os.scandir(folder) if entry.is_dir()}
        return found

    def files(self, namespace: str) -> Iterator[os.DirEntry[str]]:
        """Yield the files of a namespace's folder, those in memory first."""
        for folder in (self.objects, self.on_disk):
            with suppress(FileNotFoundError), os.scandir(f"{folder}/{namespace}") as entries:
                yield from entries


def _moved(file: str, to: str) -> None:
    try:
        os.rename(file, to)
    except FileNotFoundError:  # the first of its namespace
        Path(to).parent.mkdir(mode=0o700, exist_ok=True)
        os.rename(file, to)


def _unlinked(file: str) -> None:
    if os.access(file, os.F_OK):  # mostly it is not there, and an exception takes longer
        os.unlink(file)
