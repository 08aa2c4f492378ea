"""A server over a real database and real worker processes, and what is found in its files."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from flowdapt_cli.reading import settings
from flowdapt_secrets import keys
from flowdapt_secrets.keeper import Keeper

from flowdapt.plugins import Plugins
from flowdapt.server import Server
from flowdapt.storage import StoredRun


@dataclass
class Desk:
    """A server, and what tests do with it."""

    server: Server
    app_dir: Path

    @property
    def keeper(self) -> Keeper:
        return Keeper(self.server.storage, self.app_dir)

    def write(self, source: str) -> None:
        """Write the module that stages are functions of."""
        (self.app_dir / "user_modules" / "farm.py").write_text(dedent(source))

    async def apply(self, data: dict[str, Any], *stages: dict[str, Any]) -> None:
        """Store a workflow of these stages, and a config for it."""
        selector = {"type": "name", "value": "farm"}
        named = {"metadata": {"name": "farm"}}
        spec = {"selector": selector, "data": data}
        engine = self.server.engine
        await engine.apply({"kind": "config", **named, "spec": spec})
        await engine.apply({"kind": "workflow", **named, "spec": {"stages": list(stages)}})

    async def run(self, **values: Any) -> StoredRun:
        run = await self.server.engine.submit("farm", values)
        return await self.server.engine.wait(run.uid)

    async def result(self, **values: Any) -> Any:
        stored = await self.run(**values)
        assert stored.run.failure is None, stored.run.failure
        return json.loads(stored.result or b"")

    async def messages(self, stored: StoredRun) -> list[str]:
        blocks = await self.server.engine.read_log(stored.run.uid, limit=10_000)
        lines = [line for block in blocks.values() for line in block.lines.splitlines()]
        return [json.loads(line)["message"] for line in lines]


def stage(target: str, *after: str, **facts: Any) -> dict[str, Any]:
    """Return a stage of a function in the module of the tests, under its name."""
    path = f"user_modules.farm.{target}"
    return {"name": target, "target": path, "depends_on": list(after), **facts}


def holding(folder: Path, *texts: str) -> list[str]:
    """Return the files anywhere in a folder that hold one of the texts."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert any(path.name.endswith(".db") for path in files)
    return [
        str(path) for path in files if any(text.encode() in path.read_bytes() for text in texts)
    ]


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep keys of whoever runs the tests out of them."""
    monkeypatch.delenv(keys.VARIABLE, raising=False)


@pytest.fixture
def executor() -> str:
    """Which executor the server has, for tests to replace."""
    return "local"


@pytest.fixture
def cpus() -> int:
    """How many workers there are, for tests to replace."""
    return 2


@pytest.fixture
async def desk(tmp_path: Path, executor: str, cpus: int, anyio_backend: str) -> AsyncIterator[Desk]:
    app_dir = tmp_path / "app"
    overrides = [f"services.compute.executor.target={executor}"]
    if executor != "inline":
        overrides.append(f"services.compute.executor.cpus={cpus}")
    read = settings.load(app_dir, "-", environ={}, overrides=overrides)
    async with Server(read, Plugins.load(safe_mode=True), only=frozenset()) as server:
        yield Desk(server, app_dir)
