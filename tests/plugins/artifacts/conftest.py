"""What tests of artifacts share."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from flowdapt.artifacts import Artifact, Store
from flowdapt.context import (
    Address,
    Places,
    WorkflowRunContext,
    reset_run_context,
    set_run_context,
)
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


@pytest.fixture
def run(tmp_path: Path) -> Iterator[WorkflowRunContext]:
    """A run that the test belongs to, with its artifacts on the disk."""
    options = {"protocol": "file", "base_path": str(tmp_path), "parameters": {}}
    places = Places(
        memory=Address("nowhere:Memory"),
        artifacts=Address("flowdapt_artifacts.store:Store", json.dumps(options)),
        strategy="artifact",
    )
    context = WorkflowRunContext(namespace="of-run", executor="local", objects=places)
    token = set_run_context(context)
    yield context
    reset_run_context(token)
