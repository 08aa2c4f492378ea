"""An engine over a Dask cluster of two workers."""

from __future__ import annotations

import asyncio
import json
import textwrap
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from flowdapt_dask.executor import DaskExecutor
from flowdapt_embedded.memory import MemoryStorage

from flowdapt.engine import Engine
from flowdapt.executors import Host
from flowdapt.resources import Workflow
from flowdapt.runs import RunState
from flowdapt.snapshots import Root, Snapshots
from flowdapt.storage import StoredRun
from flowdapt.walks import kernel_types
from tests import dask_clusters


@dataclass
class Desk:
    """An engine over the Dask executor, and a folder with user modules."""

    engine: Engine
    executor: DaskExecutor
    folder: Path
    printed: asyncio.Queue[str] = field(default_factory=asyncio.Queue)

    def write(self, source: str, module: str = "user") -> None:
        """Write a user module."""
        (self.folder / f"{module}.py").write_text(textwrap.dedent(source))

    async def begin(self, *stages: dict[str, Any], **values: Any) -> Any:
        """Begin a run of these stages."""
        data = {"metadata": {"name": "test"}, "spec": {"stages": list(stages)}}
        return await self.engine.begin(Workflow.parse(data, where="test"), values)

    async def run(self, *stages: dict[str, Any], **values: Any) -> StoredRun:
        """Have stages computed, whatever comes of it."""
        return await self.ended(await self.begin(*stages, **values))

    async def ended(self, run: Any) -> StoredRun:
        """Wait for the end of a run."""
        return await asyncio.wait_for(self.engine.wait(run.uid), 60)

    async def result(self, *stages: dict[str, Any], **values: Any) -> Any:
        """Have stages computed, and return what comes of it."""
        stored = await self.run(*stages, **values)
        assert stored.run.state is RunState.FINISHED, stored.run.failure
        return json.loads(stored.result or b"")

    async def line(self) -> str:
        """Wait for the next line that a stage prints."""
        return await asyncio.wait_for(self.printed.get(), 30)


def stage(name: str, target: str | Callable[..., Any], *after: str, **facts: Any) -> dict[str, Any]:
    """Return a stage as it stands in a workflow."""
    target = f"user.{target}" if isinstance(target, str) else target
    return {"name": name, "target": target, "depends_on": after, **facts}


def mapped(name: str, target: str | Callable[..., Any], *after: str, **options: Any) -> Any:
    """Return a stage that maps over elements."""
    return stage(name, target, *after, type="parameterized", options=options)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dask_clusters.DaskServers]:
    """A cluster that is there for all tests of a module."""
    with dask_clusters.running(tmp_path_factory.mktemp("dask"), "one", "two") as servers:
        yield servers


@pytest.fixture
def options(servers: dask_clusters.DaskServers) -> dict[str, Any]:
    """The settings of the executor."""
    return {"cluster_address": servers.address}


@pytest.fixture
async def desk(tmp_path: Path, options: dict[str, Any]) -> AsyncIterator[Desk]:
    """An engine over the cluster."""
    async with started(tmp_path, options) as desk:
        yield desk
