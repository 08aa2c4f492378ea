"""The rows of resources."""

from __future__ import annotations

import sqlite3
from typing import NamedTuple
from uuid import UUID

from flowdapt.errors import ResourceChanged, ResourceExists, ResourceNotFound
from flowdapt.storage import Document
from flowdapt_sqlite.documents import decode, encode, storable


class ResourceRow(NamedTuple):
    """A resource as it is stored."""

    kind: str
    uid: bytes
    name: str
    generation: int
    document: bytes


def row(document: Document) -> ResourceRow:
    """Return the row of a document."""
    metadata = document["metadata"]
    return ResourceRow(
        document["kind"],
        UUID(str(metadata["uid"])).bytes,
        storable(metadata["name"]),
        metadata["generation"],
        encode(document),
    )


def insert(db: sqlite3.Connection, new: ResourceRow) -> None:
    """Store a new resource."""
    try:
        db.execute(
            "INSERT INTO resources (kind, uid, name, generation, document) VALUES (?, ?, ?, ?, ?)",
            new,
        )
    except sqlite3.IntegrityError:  # undoes this statement only
        raise ResourceExists(new.kind, new.name) from None


def update(db: sqlite3.Connection, new: ResourceRow, expected: int) -> None:
    """Store a resource in place of its last generation."""
    try:
        changed = db.execute(
            "UPDATE resources SET name = ?, generation = ?, document = ?"
            " WHERE kind = ? AND uid = ? AND generation = ?",
            (new.name, new.generation, new.document, new.kind, new.uid, expected),
        ).rowcount
    except sqlite3.IntegrityError:
        raise ResourceExists(new.kind, new.name) from None
    if not changed:
        raise _refusal(db, new, expected)


def _refusal(
    db: sqlite3.Connection, new: ResourceRow, expected: int
) -> ResourceNotFound | ResourceChanged:
    found = db.execute(
        "SELECT name, generation FROM resources WHERE kind = ? AND uid = ?", (new.kind, new.uid)
    ).fetchone()
    if found is None:
        return ResourceNotFound(new.kind, new.name)
    name, generation = found
    return ResourceChanged(new.kind, name, expected, generation)


def select(db: sqlite3.Connection, kind: str, identifier: str | UUID) -> Document:
    """Return one resource."""
    column, key = which(identifier)
    found = db.execute(
        f"SELECT document FROM resources WHERE kind = ? AND {column} = ?",  # noqa: S608 - of two
        (kind, key),
    ).fetchone()
    if found is None:
        raise ResourceNotFound(kind, str(identifier))
    document: Document = decode(found[0])
    return document


def select_all(db: sqlite3.Connection, kind: str) -> list[Document]:
    """Return all resources of a kind, in the order of their creation."""
    rows = db.execute("SELECT document FROM resources WHERE kind = ? ORDER BY id", (kind,))
    return [decode(text) for (text,) in rows]


def delete(db: sqlite3.Connection, kind: str, uid: UUID) -> None:
    """Remove a resource."""
    if not db.execute(
        "DELETE FROM resources WHERE kind = ? AND uid = ?", (kind, uid.bytes)
    ).rowcount:
        raise ResourceNotFound(kind, str(uid))


def which(identifier: str | UUID) -> tuple[str, str | bytes]:
    """Return the column an identifier is found in, and its value there."""
    if isinstance(identifier, UUID):
        return "uid", identifier.bytes
    return "name", storable(identifier)
