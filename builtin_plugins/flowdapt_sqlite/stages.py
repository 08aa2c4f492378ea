"""The rows of stages and of log blocks, which belong to a run."""

from __future__ import annotations

import sqlite3
from uuid import UUID

from flowdapt.errors import ResourceNotFound
from flowdapt.runs import StageRecord
from flowdapt.storage import RUN_KIND, LogBlock
from flowdapt_sqlite.documents import decode, encode, storable


def document(record: StageRecord) -> bytes:
    """Return a record as JSON text, without what has columns of its own."""
    return encode({**record.__dict__, "result": None, "elements": None})


def upsert(db: sqlite3.Connection, run: UUID, record: StageRecord, text: bytes) -> None:
    """Store how a stage went; its place in the order stays."""
    stored = db.execute(
        "INSERT INTO stages (run, stage, document, result, elements)"
        " SELECT seq, ?, ?, ?, ? FROM runs WHERE uid = ?"
        " ON CONFLICT (run, stage) DO UPDATE SET document = excluded.document,"
        " result = excluded.result, elements = excluded.elements",
        (storable(record.stage), text, record.result, record.elements, run.bytes),
    ).rowcount
    if not stored:
        raise ResourceNotFound(RUN_KIND, str(run))


def select(db: sqlite3.Connection, run: UUID) -> list[StageRecord]:
    """Return the stages of a run, in the order of their first storing."""
    rows = db.execute(
        "SELECT document, result, elements FROM stages"
        " WHERE run = (SELECT seq FROM runs WHERE uid = ?) ORDER BY id",
        (run.bytes,),
    )
    return [
        StageRecord.model_validate({**decode(text), "result": result, "elements": elements})
        for text, result, elements in rows
    ]


def append_chunk(db: sqlite3.Connection, run: UUID, stage: str, chunk: bytes | None) -> None:
    """Store what came of some elements of a stage; without a chunk, forget those of the stage."""
    if chunk is None:
        db.execute(
            "DELETE FROM chunks WHERE run = (SELECT seq FROM runs WHERE uid = ?) AND stage = ?",
            (run.bytes, storable(stage)),
        )
        return
    stored = db.execute(
        "INSERT INTO chunks (run, stage, chunk) SELECT seq, ?, ? FROM runs WHERE uid = ?",
        (storable(stage), chunk, run.bytes),
    ).rowcount
    if not stored:
        raise ResourceNotFound(RUN_KIND, str(run))


def select_chunks(db: sqlite3.Connection, run: UUID) -> dict[str, list[bytes]]:
    """Return the chunks of a run's stages, in the order of their storing."""
    found: dict[str, list[bytes]] = {}
    for stage, chunk in db.execute(
        "SELECT stage, chunk FROM chunks"
        " WHERE run = (SELECT seq FROM runs WHERE uid = ?) ORDER BY id",
        (run.bytes,),
    ):
        found.setdefault(stage, []).append(chunk)
    return found


def append_log(db: sqlite3.Connection, run: UUID, block: LogBlock) -> None:
    """Store a block at the end of a run's log."""
    stored = db.execute(
        "INSERT INTO log (run, position, stage, count, lines)"
        " SELECT seq, 1 + coalesce((SELECT max(position) FROM log WHERE run = seq), 0), ?, ?, ?"
        " FROM runs WHERE uid = ?",
        (storable(block.stage), block.count, block.lines, run.bytes),
    ).rowcount
    if not stored:
        raise ResourceNotFound(RUN_KIND, str(run))


def select_log(db: sqlite3.Connection, run: UUID, *, after: int, limit: int) -> dict[int, LogBlock]:
    """Return blocks of a run's log in order, each under its position."""
    rows = db.execute(
        "SELECT position, stage, lines, count FROM log"
        " WHERE run = (SELECT seq FROM runs WHERE uid = ?) AND position > ?"
        " ORDER BY position LIMIT ?",
        (run.bytes, after, limit),
    )
    return {position: LogBlock(stage, lines, count) for position, stage, lines, count in rows}
