"""Runs that stages start: whose they are, how they end with these, and where they are refused."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from flowdapt_calls.errors import WorkflowNotStarted
from flowdapt_embedded.memory import MemoryStorage
from flowdapt_testing.desks import until
from flowdapt_workers.inline import InlineExecutor, threads
from flowdapt_workers.targets import built_in_types

import flowdapt
from flowdapt.context import WorkflowRunContext, get_run_context, set_run_context
from flowdapt.engine import Engine
from flowdapt.errors import Draining
from flowdapt.events import Event
from flowdapt.executors import Executor, Host
from flowdapt.plugins import Plugins, offered
from flowdapt.runs import Run, RunState
from flowdapt.storage import RunQuery, StoredRun

pytestmark = pytest.mark.anyio

SECONDS = 30.0  #: until something that should happen counts as not happening


class Gate:
    """A stage that goes on when the test says so."""

    def __init__(self) -> None:
        self.reached, self.go = asyncio.Event(), asyncio.Event()


gates: dict[str, Gate] = {}


# Functions that workflows of these tests name


async def pause(gate: str) -> str:
    """Say that the stage runs, and wait until it may end."""
    gates[gate].reached.set()
    await gates[gate].go.wait()
    return get_run_context().namespace


async def call_pause(gate: str, namespace: str | None = None) -> Any:
    """Wait for another workflow."""
    return await flowdapt.call_workflow_async("pause", {"gate": gate}, namespace=namespace)


async def call_pause_in_time(gate: str) -> Any:
    """Wait for another workflow, which ends once this is tried again."""
    if get_run_context().attempt > 1:
        gates[gate].go.set()
    return await flowdapt.call_workflow_async("pause", {"gate": gate})


async def start_pause(gate: str) -> str:
    """Start another workflow, and fail."""
    started = await flowdapt.start_workflow_async("pause", {"gate": gate})
    await gates[gate].reached.wait()
    raise LookupError(started.name)


async def start_and_fail(gate: str) -> None:
    """Fail while the run that it starts is being stored."""
    starting = asyncio.create_task(flowdapt.start_workflow_async("pause", {"gate": gate}))
    await gates["stored"].reached.wait()
    raise LookupError(starting.get_name())


async def call_itself() -> None:
    """Call the workflow that this is the stage of."""
    await flowdapt.call_workflow_async("call_itself")


async def start_itself(last: bool = False) -> None:
    """Start the workflow that this is the stage of, once."""
    if not last:
        await flowdapt.start_workflow_async("start_itself", {"last": True})


async def call_with_key(gate: str) -> list[Any]:
    """Call the same thing twice."""
    calls = (
        flowdapt.call_workflow_async("pause", {"gate": gate, "n": n}, key="one") for n in range(2)
    )
    return await asyncio.gather(*calls)


def call_late(folder: str) -> None:
    """Call another workflow when the test says so, whatever has become of this one."""
    (Path(folder) / "begun").touch()
    while not (Path(folder) / "go").exists():
        time.sleep(0.002)
    try:
        flowdapt.start_workflow("pause", {"gate": "gate"})
    except BaseException as error:
        (Path(folder) / "refused").write_text(type(error).__name__)
        raise


def call_sync() -> None:
    """Wait in the thread that everything is computed in."""
    flowdapt.call_workflow("pause", {"gate": "none"})


FUNCTIONS: list[Callable[..., Any]] = [
    *(pause, call_pause, call_pause_in_time, start_pause, start_and_fail),
    *(call_itself, start_itself, call_with_key, call_late, call_sync),
]


class SlowStorage(MemoryStorage):
    """Stores a run of ``pause`` once the gate ``stored`` is open."""

    async def add_run(self, run: Run, *, events: Sequence[Event] = ()) -> None:
        if run.workflow == "pause":
            gates["stored"].reached.set()
            await gates["stored"].go.wait()
        await super().add_run(run, events=events)


async def started(storage: MemoryStorage, folder: Path, executor: Executor | None = None) -> Engine:
    """Return an engine that knows a workflow of each function."""
    host = Host(app_dir=folder)
    engine = Engine(storage, executor or InlineExecutor(), host, types=built_in_types())
    offered("policies", "calls")(engine)
    await engine.start()
    for function in FUNCTIONS:
        await engine.apply(workflow(function.__name__))
    return engine


def workflow(name: str, *, limits: object = None, **options: object) -> dict[str, object]:
    """Return the workflow of a function.

    :param limits: options of its stage
    """
    stage = {"name": "only", "target": f"{__name__}.{name}", "options": limits or {}}
    spec = {"stages": [stage], "options": options}
    return {"kind": "workflow", "metadata": {"name": name}, "spec": spec}


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    """An engine that knows a workflow of each function."""
    engine = await started(MemoryStorage(), tmp_path)
    yield engine
    await engine.stop()


@pytest.fixture
def gate() -> Gate:
    """The gate of that name."""
    gates["gate"] = Gate()
    return gates["gate"]


def soon(work: Awaitable[Any]) -> Awaitable[Any]:
    """Have something happen in time."""
    return asyncio.wait_for(work, SECONDS)


async def children(engine: Engine, run: Run) -> list[StoredRun]:
    """Return the runs that stages of a run started."""
    return [one for one in await engine.list_runs(RunQuery()) if one.run.parent == run.uid]


async def test_a_child_is_in_the_namespace_of_its_parent_unless_another_is_named(
    engine: Engine, gate: Gate
) -> None:
    gate.go.set()

    first = await engine.submit("call_pause", {"gate": "gate"}, namespace="mine")
    second = await engine.submit("call_pause", {"gate": "gate", "namespace": "yours"})

    assert (await soon(engine.wait(first.uid))).result == b'"mine"'
    assert (await soon(engine.wait(second.uid))).result == b'"yours"'


async def test_a_run_that_fails_takes_along_what_it_started(engine: Engine, gate: Gate) -> None:
    parent = await engine.submit("start_pause", {"gate": "gate"})

    ended = await soon(engine.wait(parent.uid))

    (child,) = await children(engine, parent)
    child = await soon(engine.wait(child.run.uid))
    assert (ended.run.state, child.run.state) == (RunState.FAILED, RunState.CANCELLED)
    assert ended.run.failure is not None
    assert ended.run.failure.message == child.run.name


async def test_a_run_that_fails_takes_along_what_is_just_being_stored(
    tmp_path: Path, gate: Gate
) -> None:
    gates["stored"] = Gate()
    engine = await started(SlowStorage(), tmp_path)
    parent = await engine.submit("start_and_fail", {"gate": "gate"})

    ended = await soon(engine.wait(parent.uid))
    gates["stored"].go.set()
    await soon(engine.drained())

    (child,) = await children(engine, parent)
    assert (ended.run.state, child.run.state) == (RunState.FAILED, RunState.CANCELLED)
    await engine.stop()


async def test_a_thread_that_goes_on_starts_nothing_once_its_run_is_cancelled(
    tmp_path: Path, gate: Gate
) -> None:
    engine = await started(MemoryStorage(), tmp_path, threads(cpus=1))
    parent = await engine.submit("call_late", {"folder": str(tmp_path)})
    await soon(until((tmp_path / "begun").exists))
    await engine.cancel(parent.uid)

    (tmp_path / "go").touch()
    await soon(until((tmp_path / "refused").exists))

    assert (tmp_path / "refused").read_text() == "RunCancelled"
    assert await children(engine, parent) == []
    await engine.stop()


async def test_a_child_that_is_cancelled_fails_its_parent_and_says_so(
    engine: Engine, gate: Gate
) -> None:
    parent = await engine.submit("call_pause", {"gate": "gate"})
    await soon(gate.reached.wait())
    (child,) = await children(engine, parent)

    await engine.cancel(child.run.uid)

    failure = (await soon(engine.wait(parent.uid))).run.failure
    assert failure is not None
    assert failure.type == "WorkflowFailed"
    said = f"run {child.run.name!r} of workflow 'pause' failed: RunCancelled"
    assert failure.message.startswith(said)


async def test_a_stage_that_is_tried_again_waits_for_no_run_that_is_being_cancelled(
    engine: Engine, gate: Gate
) -> None:
    limits = {"timeout": 0.1, "retries": 1}
    await engine.apply(workflow("call_pause_in_time", limits=limits))

    parent = await engine.submit("call_pause_in_time", {"gate": "gate"})

    ended = await soon(engine.wait(parent.uid))
    assert (ended.run.failure, ended.result) == (None, b'"default"')
    states = [child.run.state for child in await children(engine, parent)]
    assert states == [RunState.FINISHED, RunState.CANCELLED]


async def test_workflows_that_call_one_another_without_end_are_refused(engine: Engine) -> None:
    parent = await engine.submit("call_itself")

    failure = (await soon(engine.wait(parent.uid))).run.failure

    assert failure is not None
    assert failure.type == "WorkflowFailed"
    assert "call_itself > call_itself > call_itself" in failure.message
    assert "no more than 20 may do so in a row" in failure.message
    assert len(await engine.list_runs(RunQuery())) == 21


async def test_a_run_that_would_wait_for_itself_is_refused(engine: Engine) -> None:
    engine.govern(Plugins.load(safe_mode=True))
    for name in ("call_itself", "start_itself"):
        await engine.apply(workflow(name, concurrency="queue"))

    waits, starts = [await engine.submit(name) for name in ("call_itself", "start_itself")]

    ended = await soon(engine.wait(waits.uid))
    assert ended.run.failure is not None
    assert f"run {waits.name!r} would wait for itself" in ended.run.failure.message
    (child,) = await children(engine, waits)
    assert child.run.state is RunState.CANCELLED
    await soon(engine.wait(starts.uid))
    (child,) = await children(engine, starts)
    assert (await soon(engine.wait(child.run.uid))).run.state is RunState.FINISHED


async def test_a_key_stands_for_one_run(engine: Engine, gate: Gate) -> None:
    gate.go.set()

    parent = await engine.submit("call_with_key", {"gate": "gate"})

    assert (await soon(engine.wait(parent.uid))).result == b'["default","default"]'
    assert len(await children(engine, parent)) == 1


async def test_a_server_that_drains_starts_what_a_run_in_progress_needs(
    engine: Engine, gate: Gate
) -> None:
    first, second = gate, Gate()
    gates["second"] = second
    walk = await engine.submit("pause", {"gate": "gate"})
    parent = await engine.submit("call_pause", {"gate": "second"})
    engine.draining = True
    first.go.set()
    second.go.set()

    await soon(engine.drained())

    assert (await engine.get_run(walk.uid)).run.state is RunState.FINISHED
    assert (await engine.get_run(parent.uid)).run.state is RunState.FINISHED
    with pytest.raises(Draining):
        await engine.submit("pause", {"gate": "gate"})


async def test_a_parent_goes_on_with_the_same_child_at_the_next_server(
    tmp_path: Path, gate: Gate
) -> None:
    storage = MemoryStorage()
    first = await started(storage, tmp_path)
    parent = await first.submit("call_pause", {"gate": "gate"})
    await soon(gate.reached.wait())
    await first.stop()
    gate.go.set()

    second = await started(storage, tmp_path)

    ended = await soon(second.wait(parent.uid))
    (child,) = await children(second, parent)
    assert (ended.run.state, ended.result) == (RunState.FINISHED, b'"default"')
    assert (ended.run.resumed, child.run.resumed) == (1, 1)
    await second.stop()


async def test_a_child_whose_parent_failed_when_the_server_was_killed_is_cancelled(
    tmp_path: Path, gate: Gate
) -> None:
    storage = MemoryStorage()
    first = await started(storage, tmp_path)
    parent = Run(workflow="call_pause").to(RunState.FAILED)
    await storage.add_run(parent)
    child = await first.submit("pause", {"gate": "gate"}, parent=parent.uid)
    await soon(gate.reached.wait())
    await first.stop()

    second = await started(storage, tmp_path)

    assert (await soon(second.wait(child.uid))).run.state is RunState.CANCELLED
    await second.stop()


async def test_a_child_whose_parent_is_gone_goes_on(tmp_path: Path, gate: Gate) -> None:
    storage = MemoryStorage()
    first = await started(storage, tmp_path)
    child = await first.submit("pause", {"gate": "gate"}, parent=uuid4())
    await soon(gate.reached.wait())
    await first.stop()
    gate.go.set()

    second = await started(storage, tmp_path)

    assert (await soon(second.wait(child.uid))).run.state is RunState.FINISHED
    await second.stop()


async def test_a_sync_stage_in_the_thread_of_the_server_is_told_what_to_do(engine: Engine) -> None:
    run = await engine.submit("call_sync")

    failure = (await soon(engine.wait(run.uid))).run.failure

    assert failure is not None
    assert failure.type == "RuntimeError"
    assert "await call_workflow_async, or choose another executor" in failure.message


def test_without_a_server_there_is_nobody_to_ask() -> None:
    async def calls() -> None:
        await flowdapt.call_workflow_async("pause")

    stages = [{"name": "a", "target": calls}]

    with pytest.raises(WorkflowNotStarted, match="no server computes this stage"):
        flowdapt.run({"spec": {"stages": stages}})


def test_outside_a_stage_there_is_nobody_who_asks() -> None:
    with pytest.raises(RuntimeError, match="there is no run context here"):
        flowdapt.call_workflow("pause")


async def test_a_context_that_a_test_made_asks_nobody() -> None:
    set_run_context(WorkflowRunContext())

    with pytest.raises(RuntimeError, match="by stages that a server computes, and not here"):
        flowdapt.start_workflow("pause")
