"""What tests of the Dask executor work with: an engine over it, and a folder of user modules."""

from __future__ import annotations

import asyncio
import json
import textwrap
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flowdapt_dask.executor import DaskExecutor
from flowdapt_embedded.memory import MemoryStorage

from flowdapt.engine import Engine
from flowdapt.executors import Host
from flowdapt.resources import Workflow
from flowdapt.runs import RunState
from flowdapt.snapshots import Root, Snapshots
from flowdapt.storage import StoredRun
from flowdapt.walks import kernel_types


@dataclass
class Desk:
    """An engine over the Dask executor, and a folder with user modules."""

    engine: Engine
    executor: DaskExecutor
    folder: Path

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

    async def log(self, stored: StoredRun) -> list[str]:
        """Return what the stages of a run wrote."""
        blocks = await self.engine.read_log(stored.run.uid, limit=100_000)
        lines = [line for block in blocks.values() for line in block.lines.splitlines()]
        return [json.loads(line)["message"] for line in lines]


@asynccontextmanager
async def started(folder: Path, options: dict[str, Any]) -> AsyncIterator[Desk]:
    """Start an executor with these settings."""
    modules = folder / "modules"
    modules.mkdir()
    executor = DaskExecutor(**options)
    host = Host(app_dir=folder, snapshots=Snapshots([Root(modules)], folder / "code"))
    engine = Engine(MemoryStorage(), executor, host, types=kernel_types())
    await engine.start()
    try:
        yield Desk(engine, executor, modules)
    finally:
        await engine.stop()


async def until(condition: Callable[[], object]) -> None:
    """Wait for something in another process, which sets no event here."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def stage(name: str, target: str | Callable[..., Any], *after: str, **facts: Any) -> dict[str, Any]:
    """Return a stage as it stands in a workflow."""
    target = f"user.{target}" if isinstance(target, str) else target
    return {"name": name, "target": target, "depends_on": after, **facts}


def mapped(name: str, target: str | Callable[..., Any], *after: str, **options: Any) -> Any:
    """Return a stage that maps over elements."""
    return stage(name, target, *after, type="parameterized", options=options)
