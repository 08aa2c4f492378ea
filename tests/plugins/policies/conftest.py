"""An engine with the built-in policies, and stages of which tests can tell that they ran."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from flowdapt_local.executor import LocalExecutor
from flowdapt_sqlite.storage import SqliteStorage
from flowdapt_workers.targets import built_in_types

from flowdapt.context import Address, Places
from flowdapt.engine import Engine
from flowdapt.executors import Host
from flowdapt.plugins import Plugins
from flowdapt.runs import Run, RunState, StageRecord
from flowdapt.snapshots import Root, Snapshots
from flowdapt.storage import RunQuery, StoredRun

PLUGINS = Plugins.load(safe_mode=True)
SOURCE = """
import time
from pathlib import Path

from flowdapt import get_run_context


def folder():
    return Path(get_run_context().input["folder"])


def note(what):
    with open(folder() / "done", "a") as file:
        file.write(f"{what}\\n")


def start(*args, **values):
    note("start")
    return values


def numbers(*args, **values):
    note("numbers")
    return [1, 2, 3]


def double(number):
    note(f"double {number}")
    return 2 * number


def total(numbers=()):
    note("total")
    return sum(numbers or ())


def last(*results):
    note("last")
    return list(results)


def fail(*args, **values):
    note("fail")
    raise RuntimeError("no")


def odd(number):
    note(f"odd {number}")
    if number % 2 == 0:
        raise ValueError(f"{number} is even")
    return number


def stand_in(failure, *results):
    note("stand_in")
    return [failure["type"], failure["message"], *results]


def wait(*args, gate="go", **values):
    note("waiting")
    while not (folder() / gate).exists():
        time.sleep(0.005)
    note("waited")
    return "waited"


def large(*args, **values):
    note("large")
    return ["x" * 300_000 for _ in range(8)]


def length(text):
    note("length")
    return len(text)
"""


class House:
    """A folder with a database and user modules, and a server with all policies."""

    def __init__(self, app_dir: Path, stack: AsyncExitStack) -> None:
        self.app_dir, self._stack = app_dir, stack
        self.module = app_dir / "farm_ruled.py"
        self.module.write_text(SOURCE)
        self.engine: Engine

    async def serve(self) -> Engine:
        """Start a server; whichever ran before is stopped."""
        await self._stack.aclose()
        storage = SqliteStorage(app_dir=self.app_dir)
        await storage.start()
        snapshots = Snapshots([Root(self.app_dir)], self.app_dir / "code")
        artifacts = {"protocol": "file", "base_path": str(self.app_dir), "parameters": {}}
        (offered,) = PLUGINS.providers("artifacts").values()
        places = Places(None, Address(offered.target, json.dumps(artifacts)))
        host = Host(app_dir=self.app_dir, snapshots=snapshots, places=places)
        self.engine = Engine(storage, LocalExecutor(cpus=4), host, types=built_in_types())
        self.engine.govern(PLUGINS)
        await self.engine.start()
        self._stack.push_async_callback(storage.stop)
        self._stack.push_async_callback(self.engine.stop)
        return self.engine

    async def apply(self, *stages: dict[str, Any], name: str = "farm", **options: Any) -> None:
        """Store a workflow."""
        spec = {"stages": [*stages], "options": options}
        document = {"kind": "workflow", "metadata": {"name": name}, "spec": spec}
        await self.engine.apply(document)

    async def begin(self, name: str = "farm", **given: Any) -> Run:
        """Start a run."""
        return await self.engine.submit(name, {"folder": str(self.app_dir), **given})

    async def end(self, run: Run) -> StoredRun:
        """Wait for the end of a run."""
        return await asyncio.wait_for(self.engine.wait(run.uid), 30)

    async def result(self, name: str = "farm", **given: Any) -> Any:
        """Run a workflow and return its result."""
        ended = await self.end(await self.begin(name, **given))
        assert ended.run.state is RunState.FINISHED, ended.run.failure
        return json.loads(ended.result or b"")

    async def failure(self, name: str = "farm", **given: Any) -> str:
        """Run a workflow that fails, and return how: type and message."""
        ended = await self.end(await self.begin(name, **given))
        assert ended.run.state is RunState.FAILED
        assert ended.run.failure is not None
        return f"{ended.run.failure.type}: {ended.run.failure.message}"

    async def records(self) -> dict[str, StageRecord]:
        """Return the stages of the last run."""
        run = (await self.engine.list_runs(RunQuery(limit=1)))[0].run
        return {record.stage: record for record in await self.engine.stages(run.uid)}

    @property
    def done(self) -> Sequence[str]:
        """What stages did so far; read anew each time."""
        file = self.app_dir / "done"
        return file.read_text().splitlines() if file.exists() else []

    async def until(self, true: Callable[[], bool]) -> None:
        """Ask again and again, as files tell nobody."""
        async with asyncio.timeout(30):
            while not true():  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    def go(self, name: str = "go") -> None:
        """Let stages go on."""
        (self.app_dir / name).touch()


def stage(name: str, *after: str, target: str = "", mapped: bool = False, **options: Any) -> Any:
    """Return a stage whose function is in the house."""
    return {
        "name": name,
        "target": f"farm_ruled.{target or name}",
        "type": "parameterized" if mapped else "simple",
        "depends_on": after,
        "options": options,
    }


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """A server with all policies."""
    async with AsyncExitStack() as stack:
        made = House(tmp_path, stack)
        await made.serve()
        yield made
