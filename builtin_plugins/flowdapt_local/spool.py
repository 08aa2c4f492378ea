"""Where results too large for a message are kept: files in shared memory, or on disk.

A file holds one payload (:mod:`flowdapt.payloads`) and is written once, by the worker whose result
it is. Others map it copy-on-write: no copy is made, and a stage may still write to its arguments.
"""

from __future__ import annotations

import fcntl
import itertools
import mmap
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from flowdapt import payloads

INLINE_BYTES = 64 * 1024  #: results up to this size travel in messages


@dataclass(frozen=True, slots=True)
class Spooled:
    """A payload in a file."""

    path: str
    size: int


Part = bytes | Spooled  #: a payload, wherever it is


class Spool:
    """Writes and reads payloads of one server.

    :param folders: where files go, in order of preference; each has a folder for each run
    """

    def __init__(self, folders: tuple[str, ...]) -> None:
        self.folders = folders
        self._numbers = itertools.count()

    def store(self, run: str, segments: payloads.Segments) -> Part:
        """Keep a payload and return where it is.

        :raises OSError: it fits into none of the folders
        """
        size = payloads.size(segments)
        if size <= INLINE_BYTES:
            return payloads.pack(segments)
        return self._spooled(run, size, lambda: payloads.laid_out(segments))

    def store_text(self, run: str, text: bytes) -> Part:
        """Keep plain bytes, such as JSON, and return where they are."""
        if len(text) <= INLINE_BYTES:
            return text
        return self._spooled(run, len(text), lambda: [text])

    def _spooled(self, run: str, size: int, pieces: Callable[[], Iterable[Any]]) -> Spooled:
        for folder in self.folders[:-1]:
            try:
                return self._write(folder, run, size, pieces())
            except OSError:  # full, most likely; the next one is larger
                continue
        return self._write(self.folders[-1], run, size, pieces())

    def _write(self, folder: str, run: str, size: int, pieces: Iterable[Any]) -> Spooled:
        os.makedirs(f"{folder}/{run}", mode=0o700, exist_ok=True)
        path = f"{folder}/{run}/{os.getpid()}-{next(self._numbers)}"
        file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        try:
            # Writing is quicker than mapping fresh pages, and a full memory is an error here
            # instead of a signal that kills the process.
            for piece in pieces:
                view = memoryview(piece).cast("B")
                while view:
                    view = view[os.write(file, view) :]
        except BaseException:
            os.unlink(path)
            raise
        finally:
            os.close(file)
        return Spooled(path, size)

    def forget(self, run: str) -> None:
        """Remove everything of a run; what is mapped elsewhere stays usable there."""
        for folder in self.folders:
            shutil.rmtree(f"{folder}/{run}", ignore_errors=True)


def mapped(part: Spooled) -> mmap.mmap:
    """Return the file's content as memory that is shared until it is written to."""
    with open(part.path, "rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)


def content(part: Part) -> bytes | mmap.mmap:
    """Return the bytes of a part, mapped where they are in a file."""
    return part if isinstance(part, bytes) else mapped(part)


class Folders:
    """The spool folders of one server, and the removal of those that dead servers left."""

    def __init__(self, app_dir: Path) -> None:
        memory = Path("/dev/shm")  # noqa: S108 - private folders below it
        fast = memory if os.access(memory, os.W_OK) else Path(tempfile.gettempdir())
        self._parents = (fast / f"flowdapt-{os.getuid()}", app_dir / "spool")
        self._locks: list[IO[bytes]] = []

    def open(self) -> Spool:
        """Make this server's folders, after removing what nobody holds any more."""
        folders = []
        for parent in self._parents:
            parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if parent.stat().st_uid != os.getuid():
                continue  # somebody else took the name; the application directory is ours
            self._sweep(parent)
            folder = Path(tempfile.mkdtemp(dir=parent, prefix="server-"))
            # The lock says that the folder is in use, for as long as this process lives.
            lock = open(folder / "lock", "wb")  # noqa: SIM115 - held until close
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._locks.append(lock)
            folders.append(str(folder))
        return Spool(tuple(folders))

    @staticmethod
    def _sweep(parent: Path) -> None:
        for folder in parent.glob("server-*"):
            try:
                with open(folder / "lock", "rb") as lock:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder, ignore_errors=True)
            except FileNotFoundError:
                # Without a lock: it is being made this moment, or its maker died right then.
                if folder.stat().st_mtime < parent.stat().st_mtime - 60:
                    shutil.rmtree(folder, ignore_errors=True)
            except OSError:
                continue  # held by a living server

    def close(self) -> None:
        """Remove this server's folders."""
        for lock in self._locks:
            shutil.rmtree(Path(lock.name).parent, ignore_errors=True)
            lock.close()
        self._locks.clear()
