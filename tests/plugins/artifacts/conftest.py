"""What tests of artifacts share."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from flowdapt.artifacts import Artifact, Store
from tests.object_storages import new_bucket

Where = dict[str, Any]


@pytest.fixture(params=["file", "memory", "s3"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Where:
    """A place with nothing in it, on each of the storages in turn."""
    if request.param == "file":
        return {"protocol": "file", "base_path": str(tmp_path)}
    if request.param == "memory":
        return {"protocol": "memory", "base_path": f"/{uuid4().hex}"}
    parameters = request.getfixturevalue("s3")
    return {"protocol": "s3", "base_path": new_bucket(parameters), **parameters}


@pytest.fixture
def artifact(where: Where) -> Artifact:
    """An artifact without files, on each of the storages in turn."""
    return Artifact.new_artifact("a", **where)


@pytest.fixture
def disk(tmp_path: Path) -> Where:
    """A place with nothing in it, on the disk."""
    return {"protocol": "file", "base_path": str(tmp_path)}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Values as artifacts, on the disk."""
    return Store("file", str(tmp_path), {})
