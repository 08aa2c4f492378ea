"""The rows of kept events."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypeVar

from flowdapt.events import WORKFLOWS, Event
from flowdapt.storage import EventPage, EventQuery
from flowdapt_sqlite.documents import storable

WINDOW = 5000  #: events looked at for one page, so that rare ones do not hold up the loop

#: What the index of the channels with few events asks for in so many words.
_OF_A_SMALL_CHANNEL = "channel <> 'workflows'"

_T = TypeVar("_T")


class EventRow(NamedTuple):
    """An event as it is stored, but for its position."""

    time: float
    channel: str
    run: bytes | None
    workflow: str | None
    subject: str | None
    document: bytes


def rows(events: Iterable[Event]) -> list[EventRow]:
    """Return the rows of events."""
    return [
        EventRow(
            event.time.timestamp(),
            event.channel,
            None if event.run is None else event.run.bytes,
            event.workflow and storable(event.workflow),
            event.subject or None,
            event.text(),
        )
        for event in events
    ]


def with_events(
    change: Callable[[sqlite3.Connection], _T], events: Sequence[Event]
) -> Callable[[sqlite3.Connection], _T]:
    """Return a change that also stores the events that tell of it; refused, it stores neither."""
    if not events:
        return change
    told = rows(events)

    def both(db: sqlite3.Connection) -> _T:
        done = change(db)
        insert(db, told)
        return done

    return both


def insert(db: sqlite3.Connection, events: Iterable[EventRow]) -> None:
    """Store events in their order."""
    # The run's short number and not its uid, so that the index grows at its end alone.
    db.executemany(
        "INSERT INTO events (time, channel, run, workflow, subject, document)"
        " VALUES (?, ?, (SELECT seq FROM runs WHERE uid = ?), ?, ?, ?)",
        events,
    )


def last(db: sqlite3.Connection) -> int:
    """Return the position of the newest event."""
    (found,) = db.execute("SELECT coalesce(max(id), 0) FROM events").fetchone()
    return int(found)


def select(db: sqlite3.Connection, query: EventQuery) -> EventPage:
    """Return a page of events."""
    end = last(db)
    small = bool(query.channels) and WORKFLOWS not in query.channels
    if query.run is None and query.subject is None and not small:  # no index tells which they are
        end = min(end, query.after + WINDOW)
    conditions = ["id > ?", "id <= ?"]
    values: list[int | str | bytes] = [query.after, end]
    run = None if query.run is None else query.run.bytes
    wanted: tuple[tuple[str, str | bytes | None], ...] = (
        ("run = (SELECT seq FROM runs WHERE uid = ?)", run),
        ("subject = ?", query.subject),
        ("workflow = ?", query.workflow),
    )
    for condition, value in wanted:
        if value is not None:
            conditions.append(condition)
            values.append(value)
    if query.channels:
        conditions.append(f"channel IN ({', '.join('?' * len(query.channels))})")
        values += query.channels
    if small:
        conditions.append(_OF_A_SMALL_CHANNEL)
    found = db.execute(
        f"SELECT id, document FROM events WHERE {' AND '.join(conditions)} ORDER BY id LIMIT ?",  # noqa: S608
        (*values, query.limit),
    ).fetchall()
    following = found[-1][0] if len(found) == query.limit else max(end, query.after)
    return EventPage(dict(found), following)


def trim(db: sqlite3.Connection, channel: str, before: float, limit: int) -> int:
    """Remove old events of a channel, but never the newest event of all."""
    small = "" if channel == WORKFLOWS else f" AND {_OF_A_SMALL_CHANNEL}"
    return db.execute(
        f"DELETE FROM events WHERE id IN (SELECT id FROM events WHERE channel = ?{small}"  # noqa: S608
        " AND time < ? AND id < (SELECT max(id) FROM events) ORDER BY id LIMIT ?)",
        (channel, before, limit),
    ).rowcount
