"""Opens the database file, and refuses what is none of ours."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from flowdapt.errors import StorageError
from flowdapt_sqlite.migrations import MIGRATIONS, Step, migrate, version

APPLICATION_ID = 0x666C6F77  #: "flow", in the header of the file
OPEN_SECONDS = 10.0  #: how long opening waits for another process's lock
JOURNAL_BYTES = 4 * 2**20  #: size to which the write-ahead log shrinks when it starts over


def open_database(path: Path, *, steps: Sequence[Step] = MIGRATIONS) -> sqlite3.Connection:
    """Return a connection to the database at ``path``, with the layout of today.

    :raises StorageError: the file cannot be opened, is no database of ours, or is a newer one
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # SQLite would let others read it
        # Autocommit: transactions are begun where we say. Opened and closed in a thread, and used
        # by the event loop's thread in between.
        db = sqlite3.connect(
            path, timeout=OPEN_SECONDS, isolation_level=None, check_same_thread=False
        )
    except (OSError, sqlite3.Error) as error:
        raise failure(path, error) from error
    try:
        _prepare(db, path, steps)
    except sqlite3.Error as error:
        db.close()
        raise failure(path, error) from error
    except BaseException:
        db.close()
        raise
    return db


def _prepare(db: sqlite3.Connection, path: Path, steps: Sequence[Step]) -> None:
    _check_owner(db, path)
    _check_version(db, path, steps)
    db.execute("PRAGMA journal_mode = WAL")
    # A commit is handed to the operating system, which outlives the process. Only a power cut or a
    # crash of the kernel can take back the commits of the last seconds, and the file stays whole.
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute("PRAGMA wal_autocheckpoint = 0")  # see checkpoints.py
    db.execute(f"PRAGMA journal_size_limit = {JOURNAL_BYTES}")
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    migrate(db, steps)
    db.execute("PRAGMA busy_timeout = 0")  # from here on waiting is the event loop's


def _check_owner(db: sqlite3.Connection, path: Path) -> None:
    (owner,) = db.execute("PRAGMA application_id").fetchone()
    (tables,) = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if tables and owner != APPLICATION_ID:
        raise StorageError(f"{path} is the database of another program; {_ADVICE}")


def _check_version(db: sqlite3.Connection, path: Path, steps: Sequence[Step]) -> None:
    if version(db) > len(steps):
        raise StorageError(
            f"{path} has layout version {version(db)}, and this flowdapt knows versions up to "
            f"{len(steps)}; use the newer flowdapt that wrote it"
        )


_ADVICE = "move it away, or name another file under `database.path`"


def busy(error: BaseException) -> bool:
    """Tell whether ``error`` says that another connection holds a lock, which passes."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the low byte, without the extension
    return code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def failure(path: Path, error: BaseException) -> StorageError:
    """Return what SQLite or the operating system says about the file at ``path``, with advice."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_NOTADB:
        return StorageError(f"{path} is no SQLite database; {_ADVICE}")
    if busy(error):
        return StorageError(
            f"{path} has been locked by another process for {OPEN_SECONDS:.0f} seconds; "
            "end the program that has it open, and repeat"
        )
    if code == sqlite3.SQLITE_FULL:
        return StorageError(f"{path} cannot grow, the disk is full; free some space, and repeat")
    return StorageError(f"{path} cannot be used: {error}")
