"""An executor at work, for the suites, and what it told meanwhile."""

# ruff: noqa: S101 - suites are made of asserts

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID

import pytest
from flowdapt_workers.targets import built_in_types

from flowdapt.executors import Executor, Host, Outcome, Progress
from flowdapt.resources import Workflow
from flowdapt.runs import Run, RunState, Selection
from flowdapt.storage import LogBlock
from flowdapt.testing import MemoryStorage
from flowdapt.walks import Walk

MAPPED = {"type": "parameterized"}


def stage(
    name: str, target: Callable[..., Any] | str, *depends_on: str, **facts: Any
) -> dict[str, Any]:
    """Return a stage as it stands in a workflow."""
    return {"name": name, "target": target, "depends_on": depends_on, **facts}


@dataclass
class Bench:
    """A started executor, and what it told about the runs it computed."""

    executor: Executor
    messages: list[str] = field(default_factory=list)
    progress: list[Progress] = field(default_factory=list)
    lines: asyncio.Event = field(default_factory=asyncio.Event)
    #: what generators yielded: the stage, the item's number, and it as JSON has it
    items: list[tuple[str, int, Any]] = field(default_factory=list)
    some: asyncio.Event = field(default_factory=asyncio.Event)  #: there are items

    def take(self, block: LogBlock) -> None:
        """Note what a stage wrote."""
        self.messages += [json.loads(line)["message"] for line in block.lines.splitlines()]
        self.lines.set()

    def take_item(self, run: UUID, stage: str, number: int, text: bytes) -> None:
        """Note what a generator yielded."""
        del run
        self.items.append((stage, number, json.loads(text)))
        self.some.set()

    async def walk(
        self,
        *stages: Mapping[str, Any],
        config: dict[str, Any] | None = None,
        only: dict[str, Selection] | None = None,
        **values: Any,
    ) -> Walk:
        """Return a run of these stages, with this input, ready to be computed."""
        data = {"metadata": {"name": "suite"}, "spec": {"stages": list(stages)}}
        run = Run(workflow="suite", input=values, config=config or {}, only=only or {})
        run = run.to(RunState.RUNNING)
        storage = MemoryStorage()
        await storage.add_run(run)
        workflow = Workflow.parse(data, where="suite")
        return Walk(run, workflow, storage, self.executor, built_in_types())

    async def compute(self, *stages: Mapping[str, Any], **values: Any) -> Any:
        """Compute a run of these stages, and return its result as JSON has it."""
        outcome = await self.outcome(*stages, **values)
        assert outcome.json is not None
        return json.loads(bytes(outcome.json))

    async def outcome(self, *stages: Mapping[str, Any], **values: Any) -> Outcome:
        """Compute a run of these stages, and return what is known of its last one."""
        walk = await self.walk(*stages, **values)
        try:
            return await walk.compute()
        finally:
            await self.executor.release(walk.run.uid)


class BenchSuite:
    """What suites about executors share."""

    pytestmark: ClassVar[list[pytest.MarkDecorator]] = [pytest.mark.anyio]

    @pytest.fixture
    def anyio_backend(self) -> str:
        """The event loop that executors run in."""
        return "asyncio"

    @pytest.fixture
    async def bench(self, executor: Executor, tmp_path: Path) -> AsyncIterator[Bench]:
        """The executor, started."""
        bench = Bench(executor)
        await executor.start(
            Host(
                app_dir=tmp_path,
                on_log=lambda _, block: bench.take(block),
                on_progress=bench.progress.append,
                on_item=bench.take_item,
            )
        )
        yield bench
        await executor.stop()
