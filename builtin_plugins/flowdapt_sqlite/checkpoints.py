"""Moves the write-ahead log into the database, away from the event loop."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from contextlib import closing
from pathlib import Path

logger = logging.getLogger(__name__)

COMMITS = 64  #: transactions between two looks at the size of the log
LOG_BYTES = 8 * 2**20  #: size of the log from which it is moved
LONG_LOG_BYTES = 64 * 2**20  #: size from which writers have to wait, so that it can start over


class Checkpoints:
    """Starts a checkpoint in a thread when the log has grown.

    SQLite would do it within a commit, and thus on the event loop, where its two calls of ``fsync``
    can take a tenth of a second.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._log = path, path.with_name(path.name + "-wal")
        self._commits = 0
        self._running: asyncio.Future[None] | None = None

    def committed(self) -> None:
        """Count a transaction, and start a checkpoint where it is time for one."""
        self._commits += 1
        if self._commits < COMMITS or self._running is not None:
            return
        self._commits = 0
        if (size := self._size()) > LOG_BYTES:
            loop = asyncio.get_running_loop()
            self._running = loop.run_in_executor(
                None, checkpoint, self._path, size > LONG_LOG_BYTES
            )
            self._running.add_done_callback(self._ended)

    async def finished(self) -> None:
        """Return once no checkpoint is being made."""
        if self._running is not None:
            await asyncio.wait([self._running])

    def _size(self) -> int:
        try:
            return self._log.stat().st_size
        except FileNotFoundError:
            return 0

    def _ended(self, ended: asyncio.Future[None]) -> None:
        self._running = None
        if error := ended.exception():
            logger.warning("%s: the write-ahead log could not be moved: %s", self._path, error)


def checkpoint(path: Path, restart: bool) -> None:
    """Copy what the log holds into the database.

    :param restart: keep writers out at the end, for milliseconds, so that the log starts over even
        when commits never pause; the storage tries theirs again
    """
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA wal_checkpoint(PASSIVE)")
        if restart:
            db.execute("PRAGMA wal_checkpoint(RESTART)")
