"""How quick triggers are: idle ones, many that are due at once, and many rules that hear events."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from flowdapt.events import RUN_FINISHED, RUN_STARTED, Event
from flowdapt.plugins import Plugins
from flowdapt.resources import now
from flowdapt.server import Server
from flowdapt.settings import Settings
from tests.benchmarks.measuring import Figure

IDLE, DUE, RULES, EVENTS, SINGLE = 10_000, 1_000, 1_000, 1_000, 200
IDLE_SECONDS = 10.0


@asynccontextmanager
async def yard() -> AsyncIterator[Server]:
    """A server on a file, whose runs cost next to nothing."""
    with tempfile.TemporaryDirectory() as folder:
        compute = {"executor": "inline"}
        facts = {"app_dir": Path(folder), "services": {"compute": compute}}
        settings, plugins = Settings.model_validate(facts), Plugins.load(safe_mode=True)
        async with Server(settings, plugins, only=frozenset({"triggers"})) as server:
            stages = [{"name": "a", "target": "builtins.dict"}]
            metadata = {"name": "farm"}
            await server.engine.apply(
                {"kind": "workflow", "metadata": metadata, "spec": {"stages": stages}}
            )
            yield server


def trigger(name: str, **spec: Any) -> dict[str, Any]:
    """Return a trigger that runs the workflow."""
    action = {"target": "run_workflow", "parameters": {"workflow": "farm"}}
    return {
        "kind": "trigger_rule",
        "metadata": {"name": name},
        "spec": {"action": action, **spec},
    }


async def idle() -> float:
    """Return the share of a core that many schedules take while none is due."""
    async with yard() as server:
        for number in range(IDLE):
            line = f"{number % 60} {number // 60 % 24} {number % 28 + 1} 1 * 2090"
            await server.engine.apply(trigger(f"t{number}", type="schedule", rule=[line]))
        await asyncio.sleep(2)
        begin, cpu = time.perf_counter(), time.process_time()
        await asyncio.sleep(IDLE_SECONDS)
        return (time.process_time() - cpu) / (time.perf_counter() - begin)


async def due_at_once() -> tuple[float, float]:
    """Return after how long the last of many that are due at once has fired, and the first."""
    async with yard() as server:
        at = now() + timedelta(seconds=15)
        for number in range(DUE):
            await server.engine.apply(trigger(f"t{number}", type="once", rule=at.isoformat()))
        assert now() < at, "they take too long to apply"
        late: list[float] = []
        all_of_them = asyncio.Event()

        def note(event: Event) -> None:
            late.append((event.time - at).total_seconds())
            if len(late) == DUE:
                all_of_them.set()

        with server.engine.events.listening(note, RUN_STARTED):
            await asyncio.wait_for(all_of_them.wait(), 60)
        return max(late), min(late)


async def heard() -> tuple[float, float]:
    """Return the cores that so many rules and events a second take, and ms from event to run."""
    async with yard() as server:
        for number in range(RULES):
            rule = {
                "and": [
                    {"eq": [{"var": "type"}, RUN_FINISHED if number % 2 else f"kind{number}"]},
                    {"eq": [{"var": "data.workflow"}, f"w{number}"]},
                    {"gt": [{"var": "data.n"}, 10]},
                ]
            }
            await server.engine.apply(trigger(f"t{number}", rule=rule))
        events = [
            Event(type=RUN_FINISHED, data={"workflow": f"w{n}", "n": 1}, workflow=f"w{n}")
            for n in range(EVENTS)
        ]
        cpu = time.process_time()
        for event in events:
            server.engine.events.publish(event)
        share = time.process_time() - cpu
        return share, await _reaction(server)


async def _reaction(server: Server) -> float:
    await server.engine.apply(trigger("quick", rule={"eq": [{"var": "type"}, "grown"]}))
    took: list[float] = []
    for _ in range(SINGLE):
        begun = asyncio.Event()
        with server.engine.events.listening(partial(_set, begun), RUN_STARTED):
            at = time.perf_counter()
            server.engine.events.publish(Event(type="grown", data=None))
            await begun.wait()
            took.append(time.perf_counter() - at)
    return statistics.median(took) * 1000


def _set(begun: asyncio.Event, event: Event) -> None:
    del event
    begun.set()


async def measure(repeat: int) -> Sequence[Figure]:
    """Measure all of it."""
    del repeat
    share = await idle()
    last, first = await due_at_once()
    cores, reaction = await heard()
    return [
        Figure(f"{IDLE:,} idle schedules", share, 0.01, unit="cores"),
        Figure(f"{DUE:,} due at once, the last", last, 1.0, unit="s", facts={"first_s": first}),
        Figure(f"{RULES:,} rules, {EVENTS:,} events a second", cores, 1.0, unit="cores"),
        Figure("event to started run", reaction, 5.0, unit="ms"),
    ]
