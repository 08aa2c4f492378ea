"""Stages computed in this process; what every executor does is in the contract's suite."""

from __future__ import annotations

import asyncio
import functools
import os
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest
from flowdapt_workers.inline import AT_ONCE, InlineExecutor, threads
from flowdapt_workers.targets import TYPES

from flowdapt.context import WorkflowRunContext, get_run_context
from flowdapt.errors import RunCancelled, TargetNotFound
from flowdapt.executors import FAILURES_KEPT, Call, Host, MapCall, Progress, StageFailed
from flowdapt.snapshots import Root, Snapshots

pytestmark = pytest.mark.anyio

RUN = uuid4()


@pytest.fixture
async def executor(tmp_path: Path) -> AsyncIterator[InlineExecutor]:
    """An executor that was started."""
    executor = InlineExecutor()
    await executor.start(Host(app_dir=tmp_path))
    yield executor
    await executor.stop()


def a_call(target: Callable[..., Any] | str, *args: Any, run: UUID = RUN, **facts: Any) -> Call:
    """Return a call of a stage that depends on others."""
    return Call(run, "it", WorkflowRunContext(), target, TYPES["simple"], args=args, **facts)


def a_map(target: Callable[..., Any], over: Any, *rest: Any, **facts: Any) -> MapCall:
    """Return a call of a mapped stage over a result."""
    type_ = TYPES["parameterized"]
    return MapCall(RUN, "it", WorkflowRunContext(), target, type_, args=rest, over=over, **facts)


async def test_a_result_is_its_own_reference(executor: InlineExecutor) -> None:
    result = object()

    outcome = await executor.submit(a_call(lambda *_: result)).outcome

    assert outcome.ref is result
    assert await executor.fetch(outcome.ref) is result
    assert outcome.json is None
    assert outcome.worker == f"process {os.getpid()}"


@pytest.mark.parametrize(
    ("result", "size"),
    [
        (b"four", 4),
        (np.zeros((2, 3)), 48),
        (np.array([object()]), None),
        (np.array(["2031-04-05"], "datetime64[D]"), None),
        ([b"four"], None),
    ],
)
async def test_the_size_of_what_is_nothing_but_bytes_is_known(
    executor: InlineExecutor, result: Any, size: int | None
) -> None:
    outcome = await executor.submit(a_call(lambda *_: result)).outcome

    assert outcome.result_bytes == size


async def test_the_last_result_comes_as_json_too(executor: InlineExecutor) -> None:
    outcome = await executor.submit(a_call(lambda *_: {1, 2}, final=True)).outcome

    assert (outcome.ref, outcome.json) == ({1, 2}, b"[1,2]")


async def test_sync_functions_are_computed_in_the_thread_of_the_loop(
    executor: InlineExecutor,
) -> None:
    outcome = await executor.submit(a_call(lambda *_: threading.get_ident())).outcome

    assert outcome.ref == threading.get_ident()


async def test_with_threads_two_functions_are_computed_at_once(tmp_path: Path) -> None:
    executor = InlineExecutor(threads=2)
    await executor.start(Host(app_dir=tmp_path))
    meeting = threading.Barrier(2, timeout=5)

    calls = [executor.submit(a_call(lambda *_: meeting.wait())) for _ in range(2)]

    places = {(await call.outcome).ref for call in calls}
    assert places == {0, 1}
    await executor.stop()


async def test_with_threads_elements_are_computed_at_once(tmp_path: Path) -> None:
    executor = InlineExecutor(threads=3)
    await executor.start(Host(app_dir=tmp_path))
    meeting = threading.Barrier(3, timeout=5)

    outcome = await executor.submit(a_map(lambda _: meeting.wait(), [1, 2, 3])).outcome

    assert sorted(outcome.ref) == [0, 1, 2]
    await executor.stop()


async def test_code_in_a_thread_knows_its_stage(tmp_path: Path) -> None:
    executor = InlineExecutor(threads=1)
    await executor.start(Host(app_dir=tmp_path))

    outcome = await executor.submit(a_call(lambda *_: get_run_context().stage)).outcome

    assert outcome.ref == "it"
    await executor.stop()


@pytest.mark.parametrize("threads", [0, 2])
async def test_what_functions_took_is_known_unless_they_are_async(threads: int) -> None:
    executor = InlineExecutor(threads=threads)

    def burn(seconds: float, *, fails: bool = False) -> None:
        end = time.thread_time() + seconds
        while time.thread_time() < end:
            pass
        assert not fails

    async def idle(_: float) -> None:
        burn(0.02)

    whole = await executor.submit(a_call(burn, 0.05)).outcome
    mapped = await executor.submit(a_map(burn, [0.03, 0.03])).outcome
    unknown = await executor.submit(a_call(idle, 0.05)).outcome
    failing = executor.submit(a_call(lambda: burn(0.05, fails=True)))
    with pytest.raises(StageFailed):
        await failing.outcome

    assert 0.05 <= (whole.cpu_seconds or 0) < 0.5
    assert 0.06 <= (mapped.cpu_seconds or 0) < 0.5
    assert unknown.cpu_seconds is None
    assert 0.05 <= failing.facts()["cpu_seconds"] < 0.5
    await executor.stop()


async def test_each_element_knows_its_index(executor: InlineExecutor) -> None:
    async def stage(_: str) -> int | None:
        await asyncio.sleep(0)
        return get_run_context().item

    outcome = await executor.submit(a_map(stage, "abc")).outcome

    assert outcome.ref == [0, 1, 2]


async def test_what_is_set_in_one_stage_is_not_seen_in_another(executor: InlineExecutor) -> None:
    await executor.submit(a_call(lambda *_: None)).outcome

    with pytest.raises(RuntimeError, match="there is no run context here"):
        get_run_context()


async def test_async_elements_wait_together_up_to_a_limit(executor: InlineExecutor) -> None:
    waiting, most, all_wait = 0, 0, asyncio.Event()

    async def stage(_: int) -> None:
        nonlocal waiting, most
        waiting += 1
        most = max(most, waiting)
        if waiting == AT_ONCE:
            all_wait.set()
        await all_wait.wait()
        waiting -= 1

    outcome = await executor.submit(a_map(stage, range(AT_ONCE + 10))).outcome

    assert (outcome.items, most) == (AT_ONCE + 10, AT_ONCE)


async def test_where_no_failure_is_allowed_the_other_elements_are_stopped(
    executor: InlineExecutor,
) -> None:
    stopped = []

    async def stage(x: int) -> None:
        if x == 1:
            raise LookupError("no")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            stopped.append(x)
            raise

    with pytest.raises(StageFailed, match="stage 'it' failed: LookupError: no") as caught:
        await executor.submit(a_map(stage, [0, 1, 2], allow_partial_failure=False)).outcome

    assert caught.value.failure.item == 1
    assert sorted(stopped) == [0, 2]


async def test_only_the_first_failures_are_kept_and_all_are_counted(
    executor: InlineExecutor,
) -> None:
    outcome = await executor.submit(a_map(lambda x: 1 / 0, range(50))).outcome

    assert (outcome.ref, outcome.items, outcome.items_failed) == ([], 50, 50)
    assert [failure.item for failure in outcome.failures] == list(range(FAILURES_KEPT))


async def test_a_list_that_is_still_to_come_is_awaited(executor: InlineExecutor) -> None:
    ready = asyncio.Event()

    async def first() -> list[int]:
        await ready.wait()
        return [1, 2]

    source = executor.submit(a_call(first, takes_input=True))
    mapped = executor.submit(a_map(lambda x: x + 1, source))
    ready.set()

    assert (await mapped.outcome).ref == [2, 3]


@pytest.mark.parametrize("result", [5, None])
async def test_mapping_over_a_result_that_is_no_list_says_so(
    executor: InlineExecutor, result: Any
) -> None:
    with pytest.raises(StageFailed) as caught:
        await executor.submit(a_map(lambda x: x, result)).outcome

    failure = caught.value.failure
    assert (failure.type, failure.message) == (
        "ValueError",
        "stage 'it' maps over a result that is no list",
    )


@pytest.mark.parametrize(
    ("facts", "values", "said"),
    [
        (
            {},
            {"xs": [1]},
            "stage 'it' is parameterized and depends on no stage; "
            "set the option 'map_on' to the key of the run's input to map over",
        ),
        (
            {"map_on": "citys"},
            {"cities": ["a"]},
            "stage 'it' maps over the input 'citys', which the run was not given "
            "(did you mean 'cities'?)",
        ),
        ({"map_on": "n"}, {"n": 5}, "stage 'it' maps over the input 'n', a int: give a list"),
        ({"map_on": "n"}, {"n": "abc"}, "stage 'it' maps over the input 'n', a str: give a list"),
    ],
)
async def test_an_input_that_cannot_be_mapped_over_is_named(
    executor: InlineExecutor, facts: dict[str, Any], values: dict[str, Any], said: str
) -> None:
    context = WorkflowRunContext(input=values)
    type_ = TYPES["parameterized"]
    call = MapCall(RUN, "it", context, lambda x: x, type_, takes_input=True, **facts)

    with pytest.raises(StageFailed) as caught:
        await executor.submit(call).outcome

    assert (caught.value.failure.type, caught.value.failure.message) == ("ValueError", said)


async def test_a_result_that_json_has_no_place_for_is_no_failure(executor: InlineExecutor) -> None:
    ring: list[Any] = [2**70]
    ring.append(ring)

    outcome = await executor.submit(a_call(lambda *_: ring, final=True)).outcome

    assert outcome.json == f'["{2**70}","..."]'.encode()


async def test_cancelling_a_run_leaves_others_alone(executor: InlineExecutor) -> None:
    go, other = asyncio.Event(), uuid4()

    async def stage(*_: Any) -> str:
        await go.wait()
        return "done"

    ours = executor.submit(a_call(stage))
    theirs = executor.submit(a_call(stage, run=other))
    await executor.cancel(RUN)
    go.set()

    with pytest.raises((RunCancelled, asyncio.CancelledError)):
        await ours.outcome
    assert (await theirs.outcome).ref == "done"


async def test_a_thread_knows_when_nobody_waits_for_it_any_more(tmp_path: Path) -> None:
    executor = InlineExecutor(threads=1)
    await executor.start(Host(app_dir=tmp_path))
    begun, told, given_up = threading.Event(), threading.Event(), threading.Event()

    def stage(*_: Any) -> None:
        context = get_run_context()
        begun.set()
        while not (context.cancelled or given_up.wait(0.002)):
            pass
        if context.cancelled:
            told.set()

    call = executor.submit(a_call(stage))
    await asyncio.to_thread(begun.wait, 5)
    call.outcome.cancel()  # as the engine does that waited for it

    try:
        assert await asyncio.to_thread(told.wait, 5)
    finally:
        given_up.set()
        with pytest.raises(RunCancelled):
            await call.outcome
        await executor.stop()


async def test_stopping_ends_what_is_computed(tmp_path: Path) -> None:
    executor = InlineExecutor()
    await executor.start(Host(app_dir=tmp_path))
    call = executor.submit(a_call(asyncio.Event().wait))

    await executor.stop()

    assert call.outcome.done()


async def test_stopping_is_harmless_before_a_start() -> None:
    await InlineExecutor(threads=2).stop()


async def test_progress_tells_who_computes_and_how_far(tmp_path: Path) -> None:
    heard: list[Progress] = []
    executor = InlineExecutor()
    await executor.start(Host(app_dir=tmp_path, on_progress=heard.append))

    await executor.submit(a_call(lambda *_: 1)).outcome
    await executor.submit(a_map(lambda x: 1 / x, [1, 0])).outcome

    single, *mapped = heard
    assert single.worker == f"process {os.getpid()}"
    assert [(p.items, p.items_done, p.items_failed) for p in mapped] == [
        (2, 0, 0),
        (2, 1, 0),
        (2, 2, 1),
    ]
    await executor.stop()


async def test_it_describes_itself(executor: InlineExecutor) -> None:
    (node,) = await executor.nodes()

    assert (node.alive, node.workers) == (True, 1)
    assert executor.describe() == {"processes": False, "cpus": 1}


# User modules


@pytest.fixture
def modules(tmp_path: Path) -> Iterator[Path]:
    """A folder of user modules, forgotten by this process when the test ends."""
    before, path = list(sys.meta_path), list(sys.path)
    folder = tmp_path / "modules"
    folder.mkdir()
    yield folder
    sys.meta_path[:], sys.path[:] = before, path
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.mark.parametrize("kept", [True, False], ids=["on disk", "in memory"])
async def test_an_edit_counts_for_the_next_run(
    modules: Path, tmp_path: Path, *, kept: bool
) -> None:
    snapshots = Snapshots([Root(modules)], tmp_path / "code" if kept else None)
    executor = InlineExecutor()
    await executor.start(Host(app_dir=tmp_path, snapshots=snapshots))
    results = []

    for text in ("one", "two"):
        (modules / "inline_farm.py").write_text(f"def load(): return {text!r}")
        call = a_call("inline_farm.load", takes_input=True, code=snapshots.take())
        results.append((await executor.submit(call).outcome).ref)

    assert results == ["one", "two"]
    await executor.stop()


async def test_a_run_goes_on_with_the_code_it_began_with(modules: Path, tmp_path: Path) -> None:
    snapshots = Snapshots([Root(modules)], tmp_path / "code")
    executor = InlineExecutor()
    await executor.start(Host(app_dir=tmp_path, snapshots=snapshots))
    (modules / "inline_barn.py").write_text("def load(): return 'old'")
    old = snapshots.take()
    (modules / "inline_barn.py").write_text("def load(): return 'new'")
    new = snapshots.take()

    results = [
        (await executor.submit(a_call("inline_barn.load", takes_input=True, code=code)).outcome).ref
        for code in (new, old, new)
    ]

    assert results == ["new", "old", "new"]
    await executor.stop()


async def test_targets_are_looked_up_in_the_present_code(modules: Path, tmp_path: Path) -> None:
    snapshots = Snapshots([Root(modules)], tmp_path / "code")
    executor = InlineExecutor()
    await executor.start(Host(app_dir=tmp_path, snapshots=snapshots))
    (modules / "inline_shed.py").write_text("def laod(): ...")

    wrong = await executor.lookup(["inline_shed.load", "math.sqrt"], code=snapshots.take())

    assert set(wrong) == {"inline_shed.load"}
    assert isinstance(wrong["inline_shed.load"], TargetNotFound)
    assert "did you mean 'laod'?" in str(wrong["inline_shed.load"])
    (modules / "inline_shed.py").write_text("def load(): ...")
    assert await executor.lookup(["inline_shed.load"], code=snapshots.take()) == {}
    await executor.stop()


async def test_what_waits_for_a_thread_goes_in_the_order_of_its_priority(tmp_path: Path) -> None:
    began: asyncio.Queue[str] = asyncio.Queue()
    executor, gate, order = threads(cpus=1), threading.Event(), list[str]()
    told = Host(app_dir=tmp_path, on_progress=lambda progress: began.put_nowait(progress.stage))
    await executor.start(told)
    first = executor.submit(a_call(lambda: gate.wait(30)))
    await began.get()

    others = []
    for name, priority in (("low", 0), ("high", 1)):
        call = a_call(functools.partial(order.append, name), priority=priority)
        others.append(executor.submit(call))
        await began.get()
    gate.set()
    await asyncio.gather(first.outcome, *(other.outcome for other in others))

    assert order == ["high", "low"]
    await executor.stop()
