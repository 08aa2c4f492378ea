"""What all tests share."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flowdapt_memory.owners import OwnMemory

from flowdapt.context import (
    Address,
    Places,
    WorkflowRunContext,
    reset_run_context,
    set_run_context,
)
from tests import object_storages, ray_clusters


@pytest.fixture(autouse=True)
def _imports_of_this_process() -> Iterator[None]:
    """Have forgotten what servers in this process made importable, and what came of it."""
    meta_path, path, modules = list(sys.meta_path), list(sys.path), set(sys.modules)
    yield
    sys.meta_path[:], sys.path[:] = meta_path, path
    for name in set(sys.modules) - modules:
        if name.partition(".")[0] in ("user_modules", "shed_of_server"):
            del sys.modules[name]


@pytest.fixture
def anyio_backend() -> str:
    """The event loop of async tests."""
    return "asyncio"


@pytest.fixture(scope="session")
def s3() -> Iterator[dict[str, Any]]:
    """What fsspec's ``s3`` needs to reach a server of object storage, for all tests that ask."""
    with object_storages.serving() as parameters:
        yield parameters


@pytest.fixture(scope="session")
def ray_nodes() -> Iterator[ray_clusters.RayNodes]:
    """A cluster of two nodes, for all tests that ask; they connect to it by its address."""
    with ray_clusters.known(), ray_clusters.serving() as cluster:
        yield cluster


@pytest.fixture
def run(tmp_path: Path) -> Iterator[WorkflowRunContext]:
    """A run that the test belongs to, with a memory of its own, and its artifacts on the disk."""
    options = {"protocol": "file", "base_path": str(tmp_path), "parameters": {}}
    memory = OwnMemory(app_dir=tmp_path)
    places = Places(
        memory=memory.address,
        artifacts=Address("flowdapt_artifacts.store:Store", json.dumps(options)),
    )
    context = WorkflowRunContext(namespace="of-run", executor="local", objects=places)
    token = set_run_context(context)
    yield context
    reset_run_context(token)
    memory.close()
