"""The process that a memory belongs to: it makes the folders, and they go when it is gone."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from flowdapt.resources import amounts
from flowdapt_memory.arena import FREE, NEW, OBJECTS
from flowdapt_memory.blocks import private
from flowdapt_memory.shm import ShmMemory

SHARED = Path("/dev/shm")  # noqa: S108 - private folders below it
DISK = "memory"  #: the folder, in the application directory, for what memory has no room for
PRIVATE = 0o700


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
        sweep(parent)
        made = Path(tempfile.mkdtemp(dir=parent, prefix="memory-"))
        # Held as long as this process lives, however it ends; the folder is swept once it is not.
        self._lock = open(made / "owner", "wb", opener=private)  # noqa: SIM115 - until close
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        # A child has the same lock, and would hold it when this process is gone.
        os.register_at_fork(after_in_child=self._lock.close)
        disk = app_dir / DISK / made.name
        _sweep_disk(app_dir / DISK, parent)
        for part in (OBJECTS, NEW, FREE):
            (made / part).mkdir(mode=PRIVATE)
        disk.mkdir(mode=PRIVATE, parents=True)
        for part in (OBJECTS, NEW):
            (disk / part).mkdir(mode=PRIVATE)
        super().__init__(str(made), str(disk), capacity=size, quotas=limits)
        self._owner = os.getpid()

    def close(self) -> None:
        """Remove it, unless this is a child of the process that made it."""
        super().close()
        if self._owner == os.getpid() and not self._lock.closed:
            for folder in (self.folder, self.disk):
                shutil.rmtree(folder, ignore_errors=True)
            self._lock.close()


def sweep(parent: Path) -> int:
    """Remove the memories of processes that are gone; return how many."""
    removed = 0
    for folder in parent.glob("memory-*"):
        try:
            with open(folder / "owner", "rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # The lock goes last: somebody may still write, and then it is for the next sweep.
                for part in (OBJECTS, NEW, FREE):
                    shutil.rmtree(folder / part, ignore_errors=True)
                if not any((folder / part).exists() for part in (OBJECTS, NEW, FREE)):
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


def _sweep_disk(disk: Path, parent: Path) -> None:
    """Remove what memories that are gone left on disk."""
    for folder in disk.glob("memory-*"):
        if not (parent / folder.name).exists():
            shutil.rmtree(folder, ignore_errors=True)


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
