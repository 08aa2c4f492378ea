"""Results too large for a row, as one file each."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from uuid import UUID

from flowdapt.errors import StorageError

SETTLED_SECONDS = 300.0  #: until a file counts as one whose row does not come any more


class ResultFiles:
    """A folder of results.

    A file is written before the row that names it is committed, under a name that was never used,
    and is not changed again: a file that no row names, or that is cut short, was never a result.
    Nothing is flushed to the disk, as with the rows: the operating system outlives the process, and
    what a power cut took is found by its size.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, uid: UUID, result: bytes | memoryview) -> str:
        """Store a result in a new file and return the file's name."""
        name = f"{uid}.{os.urandom(4).hex()}.json"
        path = self.folder / name
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "wb") as file:
                file.write(result)
        except OSError as error:
            self.remove(name)
            raise StorageError(f"{path} cannot be written: {error.strerror}") from error
        return name

    def read(self, name: str, size: int) -> bytes | None:
        """Return a stored result; ``None`` where it has been removed.

        :param size: in bytes, as the row has it
        """
        path = self.folder / name
        try:
            result = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(f"{path} cannot be read: {error.strerror}") from error
        if len(result) != size:
            raise StorageError(f"{path} has {len(result)} bytes instead of {size}: it is damaged")
        return result

    def remove(self, name: str) -> None:
        """Remove a result; one that cannot be removed is left to :meth:`sweep`."""
        try:
            (self.folder / name).unlink(missing_ok=True)
        except OSError:
            return

    def names(self) -> Sequence[str]:
        """Return the names of all files in the folder."""
        try:
            return os.listdir(self.folder)
        except OSError:  # it is made when it is needed, and only then has to be a folder
            return ()

    def sweep(self, names: Sequence[str], database: Path) -> None:
        """Remove those of ``names`` that no run refers to.

        Not those that are new: a server may have just written one whose row is still to come, while
        another program opens the storage beside it.

        :param names: from before anything new was written here
        """
        names = [name for name in names if self._settled(name)]
        with closing(sqlite3.connect(database, isolation_level=None)) as db:
            for name in names:
                uid = _uid(name)
                row = (
                    uid
                    and db.execute(
                        "SELECT 1 FROM runs WHERE uid = ? AND result_file = ?", (uid.bytes, name)
                    ).fetchone()
                )
                if uid and not row:
                    self.remove(name)

    def _settled(self, name: str) -> bool:
        try:
            return time.time() - (self.folder / name).stat().st_mtime > SETTLED_SECONDS
        except OSError:  # it is gone
            return False


def _uid(name: str) -> UUID | None:
    """Return the run's uid; ``None`` for a file that is not ours."""
    try:
        return UUID(name.partition(".")[0]) if name.endswith(".json") else None
    except ValueError:
        return None
