"""The layout of the database, as the steps that lead to it.

A database carries the number of steps it has seen as its ``user_version``. Steps are only ever
added: one that was released stays as it is.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

Step = Sequence[str]  #: statements that lead from one version to the next, in one transaction

MIGRATIONS: Sequence[Step] = (
    (
        """CREATE TABLE resources (
            id INTEGER PRIMARY KEY,  -- the order of creation
            kind TEXT NOT NULL,
            uid BLOB NOT NULL,
            name TEXT NOT NULL,
            generation INTEGER NOT NULL,
            document BLOB NOT NULL,
            UNIQUE (kind, uid),
            UNIQUE (kind, name)
        )""",
        # The result stands last: reading what is before it touches none of its overflow pages.
        """CREATE TABLE runs (
            seq INTEGER PRIMARY KEY,  -- the order of acceptance
            uid BLOB NOT NULL UNIQUE,
            name TEXT NOT NULL,
            workflow TEXT NOT NULL,
            state TEXT NOT NULL,
            finished_at REAL,         -- seconds since 1970
            document BLOB NOT NULL,
            result_bytes INTEGER NOT NULL DEFAULT 0,
            result_file TEXT,         -- where the result is, if it is too large for the row
            result BLOB
        )""",
        "CREATE INDEX runs_by_name ON runs (name)",
        # Both end in `seq`, as every index does: lists are read from the end and never sorted.
        "CREATE INDEX runs_by_workflow ON runs (workflow, state)",
        "CREATE INDEX runs_by_state ON runs (state)",
        "CREATE INDEX runs_by_end ON runs (finished_at) WHERE finished_at IS NOT NULL",
        # Keyed by the short `seq` and not by uid, so that rows of runs in progress are neighbours
        # at the end of each tree and a commit writes few pages.
        """CREATE TABLE stages (
            id INTEGER PRIMARY KEY,   -- the order of first storing
            run INTEGER NOT NULL,
            stage TEXT NOT NULL,
            document BLOB NOT NULL,
            result BLOB,
            UNIQUE (run, stage)
        )""",
        """CREATE TABLE log (
            id INTEGER PRIMARY KEY,
            run INTEGER NOT NULL,
            position INTEGER NOT NULL,
            stage TEXT NOT NULL,
            count INTEGER NOT NULL,
            lines BLOB NOT NULL,
            UNIQUE (run, position)
        )""",
    ),
    (
        # Never empty once it was filled, so that no position is given twice; see events.young.
        """CREATE TABLE events (
            id INTEGER PRIMARY KEY,   -- the position
            time REAL NOT NULL,       -- seconds since 1970
            channel TEXT NOT NULL,
            run INTEGER,              -- its `seq`; the run may be gone
            workflow TEXT,
            subject TEXT,
            document BLOB NOT NULL
        )""",
        "CREATE INDEX events_by_run ON events (run) WHERE run IS NOT NULL",
        "CREATE INDEX events_by_subject ON events (subject) WHERE subject IS NOT NULL",
        # Of the channels with few events, which are kept long; a scan finds those of the other.
        "CREATE INDEX events_by_channel ON events (channel) WHERE channel <> 'workflows'",
    ),
    (
        """CREATE TABLE forgotten (
            channel TEXT PRIMARY KEY,
            position INTEGER NOT NULL -- of the newest of its events that was removed
        ) WITHOUT ROWID""",
    ),
    (
        # What is done of parameterized stages of runs in progress.
        """CREATE TABLE chunks (
            id INTEGER PRIMARY KEY,
            run INTEGER NOT NULL,
            stage TEXT NOT NULL,
            chunk BLOB NOT NULL
        )""",
        "CREATE INDEX chunks_by_run ON chunks (run)",
        """CREATE TABLE blobs (
            key TEXT PRIMARY KEY,
            expires REAL,             -- seconds since 1970
            blob BLOB NOT NULL
        )""",
        "CREATE INDEX blobs_by_expiry ON blobs (expires) WHERE expires IS NOT NULL",
    ),
    (
        # How long elements of a parameterized stage took: a few bytes for each, and no row.
        "ALTER TABLE stages ADD COLUMN elements BLOB",
    ),
)


def version(db: sqlite3.Connection) -> int:
    """Return how many steps the database has seen; 0 for an empty one."""
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def migrate(db: sqlite3.Connection, steps: Sequence[Step] = MIGRATIONS) -> None:
    """Take the steps that the database lacks, each in a transaction of its own."""
    for number in range(version(db), len(steps)):
        db.execute("BEGIN IMMEDIATE")
        try:
            for statement in steps[number]:
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {number + 1}")  # part of the transaction
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:  # some errors end the transaction by themselves
                db.execute("ROLLBACK")
            raise
