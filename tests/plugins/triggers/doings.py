"""What tests of triggers have happen, and have done."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from flowdapt_testing.clocks import settled

from flowdapt.events import Event
from flowdapt.resources import Workflow

from .conftest import Yard

GREW: dict[str, Any] = {"eq": [{"var": "type"}, "grown"]}
PRINT: dict[str, Any] = {"target": "print_event", "parameters": {}}

GATES: dict[str, asyncio.Event] = {}
CALLS: list[Any] = []
DOOR = threading.Event()


async def held(name: str = "a") -> str:
    """Return once the gate of that name is open."""
    CALLS.append(name)
    await GATES.setdefault(name, asyncio.Event()).wait()
    return name


async def exits() -> None:
    """End the process, as somebody may write it."""
    raise SystemExit(3)


async def cancels() -> None:
    """Be cancelled by something that was waited for."""
    raise asyncio.CancelledError


async def stubborn() -> None:
    """Go on whatever happens, until the gate is open."""
    CALLS.append("stubborn")
    while not GATES.setdefault("a", asyncio.Event()).is_set():
        try:
            await GATES["a"].wait()
        except asyncio.CancelledError:
            CALLS.append("cancelled")


def times_out() -> None:
    """Fail with an error that has nothing to do with how long this takes."""
    raise TimeoutError("the database did not answer")


def behind_the_door() -> None:
    """Return once the door is open."""
    DOOR.wait()


def calls(name: str, /, **parameters: Any) -> dict[str, Any]:
    """Return the action that calls a function of this module."""
    return {"target": f"{__name__}.{name}", "parameters": parameters}


def runs(name: str, /, **parameters: Any) -> dict[str, Any]:
    """Return the action that runs a workflow."""
    return {"target": "run_workflow", "parameters": {"workflow": name, **parameters}}


async def workflow(yard: Yard, name: str, target: str = "builtins.dict") -> None:
    """Apply a workflow of one stage."""
    spec = {"stages": [{"name": "a", "target": target}]}
    await yard.engine.create(Workflow, {"metadata": {"name": name}, "spec": spec})


async def slow_workflow(yard: Yard) -> None:
    """Apply a workflow that ends when it may."""
    await workflow(yard, "slow", f"{__name__}.held")


async def tell(yard: Yard, kind: str = "grown", *, facts: Any = None, **data: Any) -> None:
    """Have something told that is kept.

    :param facts: further ones of the event
    """
    event = Event(type=kind, data=data, channel="tests", source="tests", **(facts or {}))
    await yard.engine.storage.append_event(event)
    yard.engine.events.publish(event)
    await settled()
