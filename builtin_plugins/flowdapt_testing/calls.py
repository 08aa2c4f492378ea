"""What every executor does with stages that call other workflows."""

# ruff: noqa: PLR2004, S101 - a suite is made of asserts about figures

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID

import pytest

from flowdapt.executors import Executor
from flowdapt.plugins import offered
from flowdapt.runs import Failure, Run, RunState
from flowdapt.storage import RunQuery, StoredRun
from flowdapt_testing.attempt_stages import times
from flowdapt_testing.call_stages import SOURCE, WORKFLOWS
from flowdapt_testing.desks import Desk, mapped_stage, until
from flowdapt_testing.desks import user_stage as stage

SOON = 90.0  #: seconds in which a test ends


class AsyncCallSuite:
    """What executors do with async stages that call workflows, where sync ones cannot wait."""

    pytestmark: ClassVar[list[pytest.MarkDecorator]] = [pytest.mark.anyio]

    @pytest.fixture
    def anyio_backend(self) -> str:
        """The event loop that executors run in."""
        return "asyncio"

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """Where stages note what they do."""
        made = tmp_path / "noted"
        made.mkdir()
        return made

    @pytest.fixture
    async def desk(self, executor: Executor, tmp_path: Path) -> AsyncIterator[Desk]:
        """An engine over the executor, with workflows."""
        desk = await Desk.over(executor, tmp_path, tmp_path.parent / "modules-of-calls")
        desk.write(SOURCE)
        offered("policies", "calls")(desk.engine)
        for name, stages in WORKFLOWS.items():
            spec = {"stages": stages}
            data = {"kind": "workflow", "metadata": {"name": name}, "spec": spec}
            await desk.engine.apply(data)
        yield desk
        await desk.engine.stop()

    async def test_an_async_stage_gets_the_result_of_another_workflow(self, desk: Desk) -> None:
        assert await desk.result(stage("a", "calls_async"), n=3) == 6

    async def test_many_calls_wait_side_by_side(self, desk: Desk) -> None:
        assert await desk.result(stage("a", "calls_many"), n=40) == [2 * i for i in range(40)]

    async def test_async_calls_of_calls_end_though_they_fill_all_processors(
        self, desk: Desk
    ) -> None:
        count = await width(desk)
        runs = [await desk.begin(stage("a", "calls_above_async"), n=i) for i in range(count)]

        assert [(await desk.ended(run)).result for run in runs] == [
            b"%d" % (2 * i) for i in range(count)
        ]

    async def test_a_child_knows_its_parent(self, desk: Desk) -> None:
        parent = await desk.run(stage("a", "calls_async"), n=3)

        (child,) = await children(desk, parent.run)
        assert (child.run.workflow, child.run.input) == ("double", {"n": 3, "folder": None})
        assert (child.run.parent, child.run.source) == (parent.run.uid, "manual")

    async def test_children_of_a_cancelled_run_are_cancelled(
        self, desk: Desk, folder: Path
    ) -> None:
        parent = await desk.begin(stage("a", "calls_waits_async"), folder=str(folder))
        await until(lambda: "waits" in times(folder))

        ended = await asyncio.wait_for(desk.engine.cancel(parent.uid), 5)

        assert ended.run.state is RunState.CANCELLED
        (child,) = await children(desk, parent)
        ended = await asyncio.wait_for(desk.engine.wait(child.run.uid), 5)
        assert ended.run.state is RunState.CANCELLED

    async def test_who_stops_waiting_cancels_the_run(self, desk: Desk, folder: Path) -> None:
        parent = await desk.run(stage("a", "calls_waits_briefly"), folder=str(folder))

        assert parent.result == b'"no more"'
        (child,) = await children(desk, parent.run)
        ended = await asyncio.wait_for(desk.engine.wait(child.run.uid), 5)
        assert ended.run.state is RunState.CANCELLED


class CallSuite(AsyncCallSuite):
    """What executors do with stages that call workflows."""

    async def test_a_cancelled_run_starts_no_other(self, desk: Desk, folder: Path) -> None:
        parent = await desk.begin(stage("a", "starts_late"), folder=str(folder))
        await until(lambda: "begun" in times(folder))

        await asyncio.wait_for(desk.engine.cancel(parent.uid), 5)
        await until(lambda: "left" in times(folder))

        assert await children(desk, parent) == []

    async def test_a_stage_gets_the_result_of_another_workflow(self, desk: Desk) -> None:
        assert await desk.result(stage("a", "calls"), n=3) == 6

    async def test_calls_of_calls_end_though_they_fill_all_processors(self, desk: Desk) -> None:
        count = await width(desk)
        runs = [await desk.begin(stage("a", "calls_above"), n=i) for i in range(count)]

        assert [(await desk.ended(run)).result for run in runs] == [
            b"%d" % (2 * i) for i in range(count)
        ]

    async def test_elements_call_workflows_that_map_themselves(self, desk: Desk) -> None:
        each = mapped_stage("a", "fans_out", map_on="n", chunk_size=1)

        assert await desk.result(each, n=[2, 3]) == [2, 6]

    async def test_what_elements_of_a_higher_priority_wait_for_is_computed(
        self, desk: Desk
    ) -> None:
        numbers = list(range(3 * await width(desk) + 1))
        each = mapped_stage("a", "calls", map_on="n", chunk_size=1) | {"priority": 1}

        assert await desk.result(each, n=numbers) == [2 * number for number in numbers]

    async def test_elements_of_one_chunk_each_have_a_child(self, desk: Desk, folder: Path) -> None:
        each = mapped_stage("a", "calls", map_on="n", chunk_size=3)

        parent = await desk.run(each, n=[1, 1, 1], folder=str(folder))

        assert parent.result == b"[2,2,2]"
        assert times(folder) == {"double": 3}

    async def test_a_stage_that_is_tried_again_finds_the_runs_that_it_started(
        self, desk: Desk, folder: Path
    ) -> None:
        tried = stage("a", "fails_after_call", options={"retries": 1})

        assert await desk.result(tried, n=2, folder=str(folder)) == [4, 4]
        assert times(folder) == {"double": 2, "after": 2}  # the same call twice is two runs

    async def test_a_key_tells_that_a_call_is_the_same_whatever_its_input(
        self, desk: Desk, folder: Path
    ) -> None:
        tried = stage("a", "calls_with_key", options={"retries": 1})

        assert await desk.result(tried, n=2, folder=str(folder)) == 4
        assert times(folder) == {"double": 1, "after": 2}

    async def test_a_child_that_failed_is_started_anew_by_another_attempt(
        self, desk: Desk, folder: Path
    ) -> None:
        options = {"retries": 1, "retry_on": ["WorkflowFailed"]}
        tried = stage("a", "calls_failing", options=options)

        assert await desk.result(tried, n=2, folder=str(folder)) == 2
        assert times(folder) == {"calls": 2, "fails": 2}

    async def test_a_child_that_fails_raises_what_it_failed_of(
        self, desk: Desk, folder: Path
    ) -> None:
        said = await desk.result(stage("a", "looks_at_failure"), n=2, folder=str(folder))

        assert said == ["fails-once", "ValueError", "not 2"]

    async def test_a_failed_child_that_nobody_catches_fails_the_stage(
        self, desk: Desk, folder: Path
    ) -> None:
        failure = await failed(desk, stage("a", "calls_failing"), n=2, folder=str(folder))

        assert failure.type == "WorkflowFailed"
        assert failure.message.endswith("of workflow 'fails-once' failed: ValueError: not 2")

    @pytest.mark.parametrize(
        ("target", "kind", "said"),
        [
            ("calls_nothing", "WorkflowNotStarted", "no workflow named 'no-such-workflow'"),
            ("calls_with_list", "InvalidInput", "input must be an object of named values"),
        ],
    )
    async def test_a_call_that_cannot_be_is_refused(
        self, desk: Desk, target: str, kind: str, said: str
    ) -> None:
        failure = await failed(desk, stage("a", target))

        assert failure.type == kind
        assert said in failure.message

    async def test_a_run_that_was_started_goes_on_when_its_parent_has_finished(
        self, desk: Desk, folder: Path
    ) -> None:
        uid, name = await desk.result(stage("a", "starts"), folder=str(folder))
        await until(lambda: "waits" in times(folder))
        (folder / "gate").touch()

        ended = await asyncio.wait_for(desk.engine.wait(UUID(uid)), SOON)

        assert (ended.run.name, ended.result) == (name, b'"waited"')

    async def test_children_of_a_cancelled_sync_stage_are_cancelled(
        self, desk: Desk, folder: Path
    ) -> None:
        parent = await desk.begin(stage("a", "calls_waits"), folder=str(folder))
        await until(lambda: "waits" in times(folder))

        ended = await asyncio.wait_for(desk.engine.cancel(parent.uid), 5)

        assert ended.run.state is RunState.CANCELLED
        (child,) = await children(desk, parent)
        ended = await asyncio.wait_for(desk.engine.wait(child.run.uid), 5)
        assert ended.run.state is RunState.CANCELLED
        assert await desk.result(stage("a", "calls"), n=1) == 2

    async def test_waiting_counts_for_the_time_of_an_attempt(
        self, desk: Desk, folder: Path
    ) -> None:
        limited = stage("a", "calls_waits", options={"timeout": 2.5})

        parent = await asyncio.wait_for(desk.run(limited, folder=str(folder)), SOON)

        assert parent.run.failure is not None
        assert parent.run.failure.type == "TimeoutError"
        for child in await children(desk, parent.run):
            ended = await asyncio.wait_for(desk.engine.wait(child.run.uid), 5)
            assert ended.run.state is RunState.CANCELLED

    async def test_threads_and_event_loops_of_a_stage_may_call_too(self, desk: Desk) -> None:
        for target in ("calls_in_threads", "calls_in_own_loop"):
            assert await desk.result(stage("a", target), n=5) == [0, 2, 4, 6, 8]


class ProcessCallSuite(CallSuite):
    """What executors do with stages that call workflows from other processes."""

    async def test_a_stage_whose_worker_died_finds_the_runs_that_it_started(
        self, desk: Desk, folder: Path
    ) -> None:
        assert await desk.result(stage("a", "dies_after_call"), n=2, folder=str(folder)) == 4
        assert times(folder) == {"double": 1, "dies": 2}


async def width(desk: Desk) -> int:
    """Return how many calls fill all processors."""
    nodes = await desk.executor.nodes()
    return int(sum(node.resources["cpus"] for node in nodes))


async def children(desk: Desk, parent: Run) -> list[StoredRun]:
    """Return the runs that a run started."""
    runs = await desk.engine.list_runs(RunQuery())
    return [stored for stored in runs if stored.run.parent == parent.uid]


async def failed(desk: Desk, *stages: Mapping[str, Any], **values: Any) -> Failure:
    """Return what a run of stages fails of."""
    stored = await desk.run(*map(dict, stages), **values)
    assert stored.run.failure is not None, stored.result
    return stored.run.failure
