"""The process that a memory belongs to: it makes the folders, and they go when it is gone."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO

from flowdapt.resources import amounts
from flowdapt_memory.arena import FREE, NEW, OBJECTS
from flowdapt_memory.blocks import private
from flowdapt_memory.shm import ShmMemory

SHARED = Path("/dev/shm")  # noqa: S108 - private folders below it
DISK = "memory"  #: the folder, in the application directory, for what memory has no room for
PRIVATE = 0o700
PARTS = (OBJECTS, NEW, FREE)


class OwnMemory(ShmMemory):
    """A memory that ends with this process.

    :param app_dir: where what memory has no room for goes
    :param capacity: bytes that blocks may take, also as ``512MiB``; by default half of the shared
        memory that the system offers
    :param quotas: the same for single namespaces, by name; ``*`` for all others
    :param folder: where to make its folder; by default in ``/dev/shm``
    :raises ValueError: an amount is none
    """

    def __init__(
        self,
        *,
        app_dir: Path,
        capacity: float | str = "auto",
        quotas: Mapping[str, float | str] | None = None,
        folder: str | None = None,
    ) -> None:
        shared = _usable(Path(folder) if folder else SHARED)
        size = _half(shared) if capacity == "auto" else _amount("capacity", capacity)
        limits = {name: _amount("quota", limit) for name, limit in (quotas or {}).items()}
        parent = shared / f"flowdapt-{os.getuid()}"
        (app_dir / DISK).mkdir(mode=PRIVATE, parents=True, exist_ok=True)
        made, self._lock = _owned(parent)
        disk, self._disk_lock = _owned(app_dir / DISK)
        super().__init__(str(made), str(disk), capacity=size, quotas=limits)
        self._owner = os.getpid()

    def close(self) -> None:
        """Remove it, unless this is a child of the process that made it."""
        super().close()
        if self._owner == os.getpid() and not self._lock.closed:
            for folder in (self.folder, self.disk):
                shutil.rmtree(folder, ignore_errors=True)
            self._lock.close()
            self._disk_lock.close()


def _owned(parent: Path) -> tuple[Path, IO[bytes]]:
    """Return a new folder and its lock, after removing those that nobody holds any more."""
    sweep(parent)
    while True:
        made = Path(tempfile.mkdtemp(dir=parent, prefix="memory-"))
        with suppress(FileNotFoundError):
            # Held as long as this process lives, however it ends; then the folder is swept.
            lock = open(made / "owner", "wb", opener=private)  # noqa: SIM115 - until it is closed
            fcntl.flock(lock, fcntl.LOCK_EX)
            # A child has the same lock, and would hold it when this process is gone.
            os.register_at_fork(after_in_child=lock.close)
            if os.fstat(lock.fileno()).st_nlink:
                for part in PARTS:
                    (made / part).mkdir(mode=PRIVATE)
                return made, lock
            lock.close()  # a sweep came between the two


def sweep(parent: Path) -> int:
    """Remove the memories of processes that are gone; return how many."""
    removed = 0
    for folder in parent.glob("memory-*"):
        try:
            with open(folder / "owner", "rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # The lock goes last: somebody may still write, and then it is for the next sweep.
                for part in PARTS:
                    shutil.rmtree(folder / part, ignore_errors=True)
                if not any((folder / part).exists() for part in PARTS):
                    shutil.rmtree(folder, ignore_errors=True)
                    removed += 1
        except BlockingIOError:
            continue  # it lives
        except FileNotFoundError:
            # It is being made this moment, or its maker was killed right then.
            with suppress(OSError):
                if folder.stat().st_mtime < parent.stat().st_mtime - 60:
                    shutil.rmtree(folder, ignore_errors=True)
    return removed


def _usable(wanted: Path) -> Path:
    """Return a folder for shared memory whose subfolder is ours, or else one on disk."""
    shared = wanted if os.access(wanted, os.W_OK) else Path(tempfile.gettempdir())
    parent = shared / f"flowdapt-{os.getuid()}"
    parent.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
    if parent.stat().st_uid != os.getuid():  # somebody else took the name
        raise PermissionError(f"{parent} belongs to another user; remove it, or set memory.folder")
    return shared


def _half(shared: Path) -> int:
    system = os.statvfs(shared)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(system.f_blocks * system.f_frsize, memory) // 2


def _amount(what: str, given: float | str) -> int:
    try:
        return int(amounts({"memory": given})["memory"])
    except (ValueError, TypeError) as error:
        raise ValueError(f"{what} {given!r} is no number of bytes, such as 512MiB") from error
