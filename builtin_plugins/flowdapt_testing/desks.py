"""An engine at work over user modules, for the suites."""

# ruff: noqa: S101 - suites are made of asserts

from __future__ import annotations

import asyncio
import json
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from flowdapt_workers.targets import built_in_types

from flowdapt.engine import Engine
from flowdapt.executors import Executor, Host
from flowdapt.resources import Workflow
from flowdapt.runs import Run, RunState, StageRecord
from flowdapt.snapshots import Root, Snapshots
from flowdapt.storage import StoredRun
from flowdapt.testing import MemoryStorage

RUN_SECONDS = 180.0  #: how long any run of a suite may take


@dataclass
class Desk:
    """An engine over an executor, and a folder with user modules."""

    engine: Engine
    executor: Executor
    folder: Path

    @classmethod
    async def over(
        cls, executor: Executor, folder: Path, modules: Path | None = None, **facts: Any
    ) -> Desk:
        """Return a desk that is ready.

        :param folder: for files
        :param modules: for user modules, by default in that; where it has the same path and source
            as in the test before, processes may be those of the test before
        :param facts: further ones of the :class:`~flowdapt.executors.Host`
        """
        modules = modules or folder / "modules"
        modules.mkdir(exist_ok=True)
        snapshots = Snapshots([Root(modules)], folder / "code")
        host = Host(app_dir=folder, snapshots=snapshots, **facts)
        engine = Engine(MemoryStorage(), executor, host, types=built_in_types())
        await engine.start()
        return cls(engine, executor, modules)

    def write(self, source: str, module: str = "user") -> None:
        """Write a user module."""
        (self.folder / f"{module}.py").write_text(textwrap.dedent(source))

    @staticmethod
    def defined(source: str) -> Any:
        """Return what a source defines, for stages whose functions need no module to be found in.

        Processes that compute may then be those of the test before, which take a while to start.
        """
        namespace: dict[str, Any] = {"__name__": "user"}  # no module: all of it goes by value
        exec(textwrap.dedent(source), namespace)  # noqa: S102 - of a suite
        return SimpleNamespace(**namespace)

    async def begin(self, *stages: dict[str, Any], **values: Any) -> Run:
        """Start a run of these stages, with this input."""
        data = {"metadata": {"name": "test"}, "spec": {"stages": list(stages)}}
        return await self.engine.begin(Workflow.parse(data, where="test"), values)

    async def run(self, *stages: dict[str, Any], **values: Any) -> StoredRun:
        """Have stages computed, whatever comes of it."""
        return await self.ended(await self.begin(*stages, **values))

    async def ended(self, run: Run) -> StoredRun:
        """Return a run once it has ended."""
        return await asyncio.wait_for(self.engine.wait(run.uid), RUN_SECONDS)

    async def result(self, *stages: dict[str, Any], **values: Any) -> Any:
        """Return what a run has for a result, as JSON has it."""
        stored = await self.run(*stages, **values)
        assert stored.run.state is RunState.FINISHED, stored.run.failure
        return json.loads(stored.result or b"")

    async def record(self, stored: StoredRun) -> StageRecord:
        """Return how the only stage of a run went."""
        (record,) = await self.engine.stages(stored.run.uid)
        return record

    async def log(self, stored: StoredRun) -> list[dict[str, Any]]:
        """Return the lines that a run wrote."""
        blocks = await self.engine.read_log(stored.run.uid, limit=100_000)
        lines = [line for b in blocks.values() for line in b.lines.splitlines()]
        return [json.loads(line) for line in lines]


def user_stage(
    name: str, target: str | Callable[..., Any], *after: str, **facts: Any
) -> dict[str, Any]:
    """Return a stage with a function of the module ``user``, or another one."""
    target = f"user.{target}" if isinstance(target, str) else target
    return {"name": name, "target": target, "depends_on": after, **facts}


def mapped_stage(name: str, target: str | Callable[..., Any], *after: str, **options: Any) -> Any:
    """Return a stage that is computed for each element."""
    return user_stage(name, target, *after, type="parameterized", options=options)


async def until(condition: Callable[[], object]) -> None:
    """Wait for something in another process, which sets no event here."""
    async with asyncio.timeout(120):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
