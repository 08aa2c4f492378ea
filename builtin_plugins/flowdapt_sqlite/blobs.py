"""Bytes under keys, some of them for a time."""

from __future__ import annotations

import sqlite3

from flowdapt_sqlite.documents import storable


def upsert(db: sqlite3.Connection, key: str, blob: bytes, expires: float | None) -> None:
    """Store bytes in place of what was there.

    :param expires: when, in seconds since 1970
    """
    db.execute(
        "INSERT INTO blobs (key, expires, blob) VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE"
        " SET expires = excluded.expires, blob = excluded.blob",
        (storable(key), expires, blob),
    )


def select(db: sqlite3.Connection, key: str, now: float) -> bytes | None:
    """Return what is stored, unless its time is up."""
    found = db.execute(
        "SELECT blob FROM blobs WHERE key = ? AND (expires IS NULL OR expires > ?)",
        (storable(key), now),
    ).fetchone()
    return None if found is None else bytes(found[0])


def delete(db: sqlite3.Connection, prefix: str, now: float) -> None:
    """Remove what is stored under keys that begin so, and what has had its time."""
    text = storable(prefix)
    # A range of the index; a LIKE would not be case-sensitive, and read the whole table.
    end = text[:-1] + chr(ord(text[-1]) + 1) if text else ""
    if text:
        db.execute("DELETE FROM blobs WHERE key >= ? AND key < ?", (text, end))
    db.execute("DELETE FROM blobs WHERE expires <= ?", (now,))
