"""The rows of kept events."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypeVar
from uuid import UUID

from flowdapt.events import WORKFLOWS, Event
from flowdapt.storage import EventPage, EventQuery
from flowdapt_sqlite.documents import storable

WINDOW = 5000  #: events looked at in one go, so that rare ones do not hold up the loop

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


def outlive(db: sqlite3.Connection, run: UUID) -> None:
    """Keep events of a run that is about to be removed, so that they are found without its row."""
    db.execute(
        "UPDATE events SET run = NULL, subject = ?"
        " WHERE run = (SELECT seq FROM runs WHERE uid = ?)",
        (_subject(run), run.bytes),
    )


def _subject(run: UUID) -> str:
    """Return what stands in the rows of a run's events once it is gone."""
    return f"workflow_run/{run}"


def last(db: sqlite3.Connection) -> int:
    """Return the position of the newest event."""
    (found,) = db.execute("SELECT coalesce(max(id), 0) FROM events").fetchone()
    return int(found)


def select(db: sqlite3.Connection, query: EventQuery) -> EventPage:
    """Return a page of events."""
    wanted, values = _wanted(db, query)
    most = None
    if query.run is None and query.subject is None:
        if query.channels and WORKFLOWS not in query.channels:
            wanted.append(_OF_A_SMALL_CHANNEL)
        else:  # no index tells which they are
            most = WINDOW
    looked_at = (_before if query.newest_first else _behind)(db, query.after, most)
    if not looked_at:
        return EventPage({}, query.after)
    bounds = sorted((looked_at[0], looked_at[-1]))
    found = db.execute(
        f"SELECT id, document FROM events WHERE {' AND '.join(['id >= ? AND id <= ?', *wanted])}"  # noqa: S608 - of our own
        f" ORDER BY id {'DESC' if query.newest_first else 'ASC'} LIMIT ?",
        (*bounds, *values, query.limit),
    ).fetchall()
    following = found[-1][0] if len(found) == query.limit else looked_at[-1]
    return EventPage(dict(found), following)


def _behind(db: sqlite3.Connection, after: int, most: int | None) -> range:
    """Return the positions behind one, as far as they are looked at: at most so many."""
    end = last(db)
    if most is not None:
        (first,) = db.execute("SELECT min(id) FROM events WHERE id > ?", (after,)).fetchone()
        end = min(end, (first or end) - 1 + most)
    return range(after + 1, end + 1)


def _before(db: sqlite3.Connection, before: int, most: int | None) -> range:
    """Return the positions before one, or all, backwards, as far as they are looked at."""
    end = last(db)
    if before:
        (end,) = db.execute("SELECT max(id) FROM events WHERE id < ?", (before,)).fetchone()
    end = end or 0  # there is none
    return range(end, 0 if most is None else max(0, end - most), -1)


def _wanted(db: sqlite3.Connection, query: EventQuery) -> tuple[list[str], list[int | str]]:
    """Return conditions on the columns of an event, and their values."""
    columns: dict[str, int | str | None] = {"subject": query.subject}
    if query.run is not None:
        seq = db.execute("SELECT seq FROM runs WHERE uid = ?", (query.run.bytes,)).fetchone()
        columns |= {"subject": _subject(query.run)} if seq is None else {"run": seq[0]}
    columns["workflow"] = query.workflow and storable(query.workflow)
    given = {column: value for column, value in columns.items() if value is not None}
    conditions = [f"{column} = ?" for column in given]
    if query.channels:
        conditions.append(f"channel IN ({', '.join('?' * len(query.channels))})")
    return conditions, [*given.values(), *query.channels]


def channels(db: sqlite3.Connection) -> list[str]:
    """Return the channels that there are, each found with one look at an index."""
    found = [WORKFLOWS]  # which the index leaves out
    name: str | None = ""
    while name is not None:
        (name,) = db.execute(
            f"SELECT min(channel) FROM events WHERE {_OF_A_SMALL_CHANNEL} AND channel > ?",  # noqa: S608
            (name,),
        ).fetchone()
        found += [] if name is None else [name]
    return found


def young(db: sqlite3.Connection, time: float) -> int:
    """Return the position from which on events are not older; at most that of the newest.

    Found by bisection, which needs no index over times. Where the clock was set back, some that are
    older stand behind it.
    """
    low, newest = 1, last(db)
    high = newest
    while low < high:
        middle = (low + high) // 2
        found, when = db.execute(
            "SELECT id, time FROM events WHERE id >= ? ORDER BY id LIMIT 1", (middle,)
        ).fetchone()
        if when >= time:
            high = middle
        else:
            low = found + 1
    return min(low, newest)


def trim(
    db: sqlite3.Connection, channel: str, positions: range, *, before: float, limit: int
) -> int:
    """Remove old events of a channel among those at some positions."""
    small = "" if channel == WORKFLOWS else f" AND {_OF_A_SMALL_CHANNEL}"
    old = f"FROM events WHERE id >= ? AND id < ? AND channel = ?{small} AND time < ?"
    found = db.execute(
        f"SELECT id {old} ORDER BY id LIMIT ?",
        (positions.start, positions.stop, channel, before, limit),
    ).fetchall()
    if found:
        (first,), (newest,) = found[0], found[-1]
        db.execute(f"DELETE {old}", (first, newest + 1, channel, before))
        db.execute(
            "INSERT INTO forgotten VALUES (?, ?)"
            " ON CONFLICT (channel) DO UPDATE SET position = max(position, excluded.position)",
            (channel, newest),
        )
    return len(found)


def forgotten(db: sqlite3.Connection) -> dict[str, int]:
    """Return the newest position that was removed, by channel."""
    return dict(db.execute("SELECT channel, position FROM forgotten").fetchall())
