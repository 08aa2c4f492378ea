"""A server in memory whose triggers go by a clock that the tests set."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from flowdapt_testing.clocks import SimulatedClock, settled
from flowdapt_triggers.resource import TriggerRule
from flowdapt_triggers.service import TriggerService

from flowdapt.plugins import Plugins
from flowdapt.resources import Workflow
from flowdapt.runs import Run
from flowdapt.server import Server
from flowdapt.settings import Settings
from flowdapt.storage import EventQuery, RunQuery

BEGIN = datetime(2021, 4, 5, tzinfo=UTC)  #: before anything else that has a time
WORKFLOW = {"stages": [{"name": "a", "target": "builtins.dict"}]}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def _nothing_done() -> Iterator[None]:
    from . import doings

    doings.GATES.clear()
    doings.CALLS.clear()
    doings.DOOR.clear()
    yield
    doings.DOOR.set()  # for threads that wait


class Yard:
    """A server with triggers, and what they did."""

    def __init__(self, server: Server, clock: SimulatedClock) -> None:
        self.server, self.clock, self.engine = server, clock, server.engine
        self.service = TriggerService(server, clock=clock)

    async def begin(self) -> None:
        """Start the triggers."""
        await self.service.start()
        await settled()

    async def kill(self) -> None:
        """End the triggers as the death of their server does: nothing more is put on record."""

        async def forget() -> None: ...

        self.service.notes.write = forget  # type: ignore[method-assign]
        await self.service.stop()
        self.service = TriggerService(self.server, clock=self.clock)

    async def restart(self) -> None:
        """Kill the server, and start another one."""
        await self.kill()
        await self.begin()

    async def apply(self, name: str = "t", **spec: Any) -> TriggerRule:
        """Apply a trigger; it runs a workflow, if nothing else is said."""
        action = {"target": "run_workflow", "parameters": {"workflow": "farm"}}
        resource = {
            "kind": "trigger_rule",
            "metadata": {"name": name},
            "spec": {"action": action, **spec},
        }
        made, _ = await self.engine.apply(resource)
        assert isinstance(made, TriggerRule)
        await settled()
        return made

    async def runs(self) -> list[Run]:
        """Return all runs, in the order in which they began."""
        await settled()
        stored = await self.engine.list_runs(RunQuery(newest_first=False))
        return [one.run for one in stored]

    async def told(self, what: str = "") -> list[dict[str, Any]]:
        """Return what events of triggers tell, such as of those that ``fired``."""
        await settled()
        page = await self.engine.storage.read_events(
            EventQuery(channels=["triggers"], limit=10_000)
        )
        events = map(json.loads, page.entries.values())
        return [event["data"] for event in events if event["type"].endswith(what)]

    async def due(self) -> list[str]:
        """Return the times for which triggers fired, as clocks show them."""
        return [clock(told) for told in await self.told("fired")]


def clock(told: Mapping[str, Any]) -> str:
    """Return the time of day of what was told."""
    return datetime.fromisoformat(told["due"]).strftime("%H:%M:%S")


@pytest.fixture
async def idle(
    tmp_path: Path, anyio_backend: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Yard]:
    """A yard whose triggers are not started yet."""
    settings = Settings.model_validate(
        {
            "app_dir": tmp_path,
            "database": "memory",
            "services": {"compute": {"executor": "inline"}},
        }
    )
    async with Server(settings, Plugins.load(), only=frozenset()) as server:
        yard = Yard(server, SimulatedClock(BEGIN))
        monkeypatch.setattr("flowdapt.catalog.now", yard.clock.now)
        workflow = {"kind": "workflow", "metadata": {"name": "farm"}, "spec": WORKFLOW}
        await server.engine.create(Workflow, workflow)
        yield yard
        await yard.service.stop()


@pytest.fixture
async def yard(idle: Yard) -> Yard:
    """A yard whose triggers are at work."""
    await idle.begin()
    return idle
