"""Resources as a storage is given them."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from flowdapt.resources import now, timestamp
from flowdapt.storage import Document


def a_document(name: str = "first", *, kind: str = "workflow", **spec: Any) -> Document:
    """Return a resource of generation 1."""
    time = timestamp(now())
    metadata = {
        "name": name,
        "uid": str(uuid4()),
        "created_at": time,
        "updated_at": time,
        "annotations": {},
        "generation": 1,
    }
    return {"kind": kind, "metadata": metadata, "spec": spec}


def changed(document: Document, *, name: str | None = None, **spec: Any) -> Document:
    """Return the next generation of a resource."""
    metadata = document["metadata"]
    facts = {"name": name or metadata["name"], "generation": metadata["generation"] + 1}
    return {**document, "metadata": {**metadata, **facts}, "spec": spec}
