"""The rows of runs."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from pydantic import ValidationError

from flowdapt.errors import ResourceExists, ResourceNotFound, UnlawfulTransition
from flowdapt.runs import Run, RunState
from flowdapt.storage import RUN_KIND, RunQuery, StoredRun
from flowdapt_sqlite import events
from flowdapt_sqlite.documents import encode, storable
from flowdapt_sqlite.resources import which

LATEST = 2**63 - 1  #: a cursor before which all runs are
LOG_BLOCKS = 64  #: blocks of a log removed at once, so that a long log does not hold up the loop


class RunRow(NamedTuple):
    """A run as it is stored."""

    seq: int
    document: bytes
    result_bytes: int
    result_file: str | None
    result: bytes | None

    def stored(self) -> StoredRun:
        """Return what the row says; a result that lies in a file is left out."""
        try:
            run = Run.__pydantic_validator__.validate_json(self.document)
        except ValidationError:  # it nests more deeply than pydantic's decoder goes
            run = Run.model_validate(json.loads(self.document))
        return StoredRun(run, self.result, self.result_bytes)


class Result(NamedTuple):
    """A result on its way into the row: in a file, in the row or absent."""

    size: int = 0
    file: str | None = None
    inline: bytes | memoryview | None = None


_COLUMNS = "seq, document, result_bytes, result_file, result"


def document(run: Run) -> bytes:
    """Return a run as JSON text."""
    # Six times as fast as pydantic's own encoder, which walks fields of unknown type one by one.
    return encode(run.__dict__)


def insert(db: sqlite3.Connection, run: Run, text: bytes) -> None:
    """Store a new run."""
    ended = run.finished_at and run.finished_at.timestamp()
    names = storable(run.name), storable(run.workflow)
    try:
        db.execute(
            "INSERT INTO runs (uid, name, workflow, state, finished_at, document)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (run.uid.bytes, *names, run.state.value, ended, text),
        )
    except sqlite3.IntegrityError:
        raise ResourceExists(RUN_KIND, run.name) from None


def update(db: sqlite3.Connection, run: Run, text: bytes, *, was: RunState, result: Result) -> None:
    """Store the next state of a run."""
    ended = run.finished_at and run.finished_at.timestamp()
    uid = run.uid.bytes
    changed = db.execute(
        "UPDATE runs SET state = ?, finished_at = ?, document = ?,"
        " result_bytes = ?, result_file = ?, result = ? WHERE uid = ? AND state = ?",
        (run.state.value, ended, text, *result, uid, was.value),
    ).rowcount
    if changed:
        if run.state.final:
            db.execute(
                "DELETE FROM chunks WHERE run = (SELECT seq FROM runs WHERE uid = ?)", (uid,)
            )
        return
    found = db.execute("SELECT state FROM runs WHERE uid = ?", (uid,)).fetchone()
    if found is None:
        raise ResourceNotFound(RUN_KIND, run.name)
    raise UnlawfulTransition(run.name, found[0], run.state)


def select(db: sqlite3.Connection, identifier: str | UUID) -> RunRow:
    """Return one run; of several with one name, the newest."""
    column, key = which(identifier)
    found = db.execute(
        f"SELECT {_COLUMNS} FROM runs WHERE {column} = ? ORDER BY seq DESC LIMIT 1",  # noqa: S608
        (key,),
    ).fetchone()
    if found is None:
        raise ResourceNotFound(RUN_KIND, str(identifier))
    return RunRow(*found)


def position(db: sqlite3.Connection, uid: UUID) -> int:
    """Return the place of a run in the order of acceptance."""
    found = db.execute("SELECT seq FROM runs WHERE uid = ?", (uid.bytes,)).fetchone()
    if found is None:
        raise ResourceNotFound(RUN_KIND, str(uid))
    seq: int = found[0]
    return seq


class Span(NamedTuple):
    """Where runs are looked for, in the order of acceptance; neither end belongs to it."""

    after: int = 0
    before: int = LATEST

    def behind(self, seq: int, *, newest_first: bool) -> Span:
        """Return what is left of it behind a run."""
        return self._replace(before=seq) if newest_first else self._replace(after=seq)


def span(db: sqlite3.Connection, query: RunQuery) -> Span:
    """Return where the runs are that a query's cursor and times leave."""
    found = Span()
    if query.since is not None:
        found = found._replace(after=_accepted_since(db, query.since) - 1)
    if query.until is not None:
        found = found._replace(before=_accepted_since(db, query.until))
    if query.cursor is None:
        return found
    rest = Span().behind(position(db, query.cursor), newest_first=query.newest_first)
    return Span(max(found.after, rest.after), min(found.before, rest.before))


def _accepted_since(db: sqlite3.Connection, time: datetime) -> int:
    """Return a place in the order of acceptance: all runs from there on are not older.

    Found by bisection, which needs no index over times; some twenty rows are read. Where the clock
    was set back, runs keep the place that they have by their acceptance.
    """
    (newest,) = db.execute("SELECT coalesce(max(seq), 0) FROM runs").fetchone()
    low, high = 0, newest + 1
    while low < high:
        middle = (low + high) // 2
        row = db.execute(
            f"SELECT {_COLUMNS} FROM runs WHERE seq >= ? ORDER BY seq LIMIT 1",  # noqa: S608
            (middle,),
        ).fetchone()
        if row is None or RunRow(*row).stored().run.started_at >= time:
            high = middle
        else:
            low = RunRow(*row).seq + 1
    return low


def select_within(
    db: sqlite3.Connection, query: RunQuery, span: Span, *, limit: int
) -> Sequence[RunRow]:
    """Return the first runs of a query within a span."""
    found = sorted(_first(db, query, span, limit), reverse=query.newest_first)[:limit]
    rows = (
        db.execute(f"SELECT {_COLUMNS} FROM runs WHERE seq = ?", (seq,)).fetchone()  # noqa: S608
        for seq in found
    )
    return [RunRow(*row) for row in rows]


def _first(db: sqlite3.Connection, query: RunQuery, span: Span, limit: int) -> list[int]:
    # One walk along an index for each state, never touching a row: at most five times `limit`
    # entries are read, however many runs there are. An index without the state would need no
    # merging, and one page more to write for each run.
    order = "DESC" if query.newest_first else "ASC"
    rest = f"seq > ? AND seq < ? ORDER BY seq {order} LIMIT ?"
    ends = (span.after, span.before, limit)
    if query.workflow is None and not query.states:
        return [seq for (seq,) in db.execute(f"SELECT seq FROM runs WHERE {rest}", ends)]  # noqa: S608
    of_workflow = "" if query.workflow is None else "workflow = ? AND "
    sql = f"SELECT seq FROM runs WHERE {of_workflow}state = ? AND {rest}"  # noqa: S608 - of our own
    workflow = () if query.workflow is None else (storable(query.workflow),)
    return [
        seq
        for state in set(query.states) or RunState
        for (seq,) in db.execute(sql, (*workflow, state.value, *ends))
    ]


def select_expired(db: sqlite3.Connection, before: float, limit: int) -> list[UUID]:
    """Return runs that ended before a time, in seconds since 1970."""
    rows = db.execute(
        "SELECT uid FROM runs WHERE finished_at < ? ORDER BY finished_at, seq LIMIT ?",
        (before, limit),
    )
    return [UUID(bytes=uid) for (uid,) in rows]


def trim_log(db: sqlite3.Connection, uid: UUID) -> bool:
    """Remove some of a run's log; tell whether there is more."""
    removed = db.execute(
        "DELETE FROM log WHERE id IN (SELECT id FROM log WHERE run = ? LIMIT ?)",
        (position(db, uid), LOG_BLOCKS),
    ).rowcount
    return removed == LOG_BLOCKS


def delete(db: sqlite3.Connection, uid: UUID) -> str | None:
    """Remove a run with all it has, and return the name of its result's file."""
    seq = position(db, uid)
    file: str | None
    (file,) = db.execute("SELECT result_file FROM runs WHERE seq = ?", (seq,)).fetchone()
    db.execute("DELETE FROM stages WHERE run = ?", (seq,))
    db.execute("DELETE FROM log WHERE run = ?", (seq,))
    db.execute("DELETE FROM chunks WHERE run = ?", (seq,))
    events.outlive(db, uid)  # whoever gets the number next has nothing to do with them
    db.execute("DELETE FROM runs WHERE seq = ?", (seq,))
    return file
