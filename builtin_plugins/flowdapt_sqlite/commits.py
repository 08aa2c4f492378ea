"""Writes of one turn of the event loop, committed together."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from flowdapt.errors import FlowdaptError
from flowdapt_sqlite.database import OPEN_SECONDS, busy, failure

T = TypeVar("T")

BATCH = 200  #: writes in a transaction, so that the loop gets its turn
FIRST_WAIT, LONGEST_WAIT = 0.001, 0.05  #: seconds between attempts at a locked database


class _Write(NamedTuple):
    do: Callable[[sqlite3.Connection], Any]
    done: asyncio.Future[Any]


class Commits:
    """Runs writes on the loop's own thread, all that come in one turn in one transaction.

    An insert into the write-ahead log takes some 20 microseconds, less than handing it to a thread
    and back, and a thread would have to wait for the interpreter's lock as well.

    :param after: called after each transaction; it must return at once
    """

    def __init__(
        self, db: sqlite3.Connection, path: Path, *, after: Callable[[], None] = lambda: None
    ) -> None:
        self._db, self._path, self._after = db, path, after
        self._loop = asyncio.get_running_loop()
        self._pending: list[_Write] = []
        self._scheduled = False
        self._wait = FIRST_WAIT
        self._locked_since: float | None = None

    def submit(self, do: Callable[[sqlite3.Connection], T]) -> asyncio.Future[T]:
        """Have ``do`` run within the next transaction; the future is done once that is committed.

        ``do`` may be run again after a rollback, and raises a :class:`FlowdaptError` only before it
        has written anything: the others of its transaction are committed nevertheless. One whose
        future was cancelled in time is not run.
        """
        done: asyncio.Future[T] = self._loop.create_future()
        self._pending.append(_Write(do, done))
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush)
        return done

    async def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Return what ``query`` finds; it sees all that was acknowledged."""
        deadline = self._loop.time() + OPEN_SECONDS
        wait = FIRST_WAIT
        while True:
            try:
                return query(self._db)
            except sqlite3.Error as error:
                # Readers pass by a writer's lock, but not by an exclusive one or by a recovery.
                if not busy(error) or self._loop.time() > deadline:
                    raise failure(self._path, error) from error
            await asyncio.sleep(wait)
            wait = min(wait * 2, LONGEST_WAIT)

    async def drained(self) -> None:
        """Return once everything submitted is committed or refused."""
        while open_ := [write.done for write in self._pending if not write.done.done()]:
            await asyncio.wait(open_)

    def _flush(self) -> None:
        self._scheduled = False
        batch, later, self._pending = self._pending[:BATCH], self._pending[BATCH:], []
        if batch := [write for write in batch if not write.done.done()]:
            self._settle(batch)
        self._pending += later
        if self._pending and not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def _settle(self, batch: list[_Write]) -> None:
        """Commit ``batch`` and resolve its futures, or put it back while the database is locked."""
        try:
            outcomes = self._commit(batch)
        except Exception as error:
            if busy(error):
                self._put_back(batch, error)
            elif len(batch) == 1:
                batch[0].done.set_exception(failure(self._path, error))
            else:  # each alone, so that only those that are at fault fail
                for write in batch:
                    self._settle_alone(write)
            return
        self._locked_since, self._wait = None, FIRST_WAIT
        for write, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, FlowdaptError):
                write.done.set_exception(outcome)
            else:
                write.done.set_result(outcome)
        self._after()

    def _settle_alone(self, write: _Write) -> None:
        if self._pending:  # one before it was put back; they stay in order
            self._pending.append(write)
        else:
            self._settle([write])

    def _commit(self, batch: list[_Write]) -> list[Any]:
        """Return what each write returned or refused with, all of it committed."""
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        try:
            outcomes = [self._outcome(write) for write in batch]
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:  # a full disk has ended the transaction by itself
                db.execute("ROLLBACK")
            raise
        return outcomes

    def _outcome(self, write: _Write) -> Any:
        try:
            return write.do(self._db)
        except FlowdaptError as refusal:
            return refusal

    def _put_back(self, batch: list[_Write], error: Exception) -> None:
        """Try ``batch`` again after a while, and give up after :data:`OPEN_SECONDS`."""
        now = self._loop.time()
        self._locked_since = self._locked_since or now
        if now - self._locked_since > OPEN_SECONDS:
            for write in batch:
                write.done.set_exception(failure(self._path, error))
            self._locked_since = None
            return
        self._pending += batch
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_later(self._wait, self._flush)
            self._wait = min(self._wait * 2, LONGEST_WAIT)
