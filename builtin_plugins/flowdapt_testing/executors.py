"""What every executor does with the stages of a run."""

# ruff: noqa: PLR2004, S101 - a suite is made of asserts about figures

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest

from flowdapt.context import Sealed, get_run_context
from flowdapt.errors import NeverFits, RunCancelled, TargetNotFound
from flowdapt.executors import Executor, Host, Outcome, Progress, StageFailed
from flowdapt.resources import Workflow
from flowdapt.runs import Run, RunState
from flowdapt.testing import MemoryStorage
from flowdapt.walks import Walk, kernel_types

MAPPED = {"type": "parameterized"}
ALL_OR_NOTHING = {**MAPPED, "options": {"allow_partial_failure": False}}


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

    async def walk(
        self, *stages: Mapping[str, Any], config: dict[str, Any] | None = None, **values: Any
    ) -> Walk:
        """Return a run of these stages, with this input, ready to be computed."""
        data = {"metadata": {"name": "suite"}, "spec": {"stages": list(stages)}}
        run = Run(workflow="suite", input=values, config=config or {}).to(RunState.RUNNING)
        storage = MemoryStorage()
        await storage.add_run(run)
        workflow = Workflow.parse(data, where="suite")
        return Walk(run, workflow, storage, self.executor, kernel_types())

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


class Safe:
    """A config with a secret that is known to nobody before it is opened."""

    def __init__(self) -> None:
        self.opened = False

    def __reduce__(self) -> tuple[type[Safe], tuple[()]]:
        return Safe, ()

    def __call__(self) -> dict[str, Any]:
        """Open it."""
        self.opened = True
        return {"token": "plain"}

    def mask(self, text: str) -> str:
        """Return a text without the secret."""
        return text.replace("plain", "***") if self.opened else text


class ExecutorSuite:
    """What every :class:`flowdapt.executors.Executor` does.

    A subclass says how one is made, with at least two processors, and not yet started::

        class TestMyExecutor(ProcessExecutorSuite):
            @pytest.fixture
            def executor(self):
                return MyExecutor(cpus=2)
    """

    pytestmark: ClassVar[list[pytest.MarkDecorator]] = [pytest.mark.anyio]

    @pytest.fixture
    def anyio_backend(self) -> str:
        """The event loop that executors run in."""
        return "asyncio"

    @pytest.fixture
    async def bench(self, executor: Executor, tmp_path: Path) -> AsyncIterator[Bench]:
        """The executor, started."""
        bench = Bench(executor)

        def on_log(_run: Any, block: Any) -> None:
            bench.messages += [json.loads(line)["message"] for line in block.lines.splitlines()]
            bench.lines.set()

        await executor.start(
            Host(app_dir=tmp_path, on_log=on_log, on_progress=bench.progress.append)
        )
        yield bench
        await executor.stop()

    async def test_a_stage_without_dependencies_gets_the_input_by_name(self, bench: Bench) -> None:
        assert await bench.compute(stage("a", lambda n: n + 1), n=1, unused=2) == 2

    async def test_results_are_arguments_in_the_order_of_dependencies(self, bench: Bench) -> None:
        result = await bench.compute(
            stage("a", lambda: "a"),
            stage("b", lambda: "b"),
            stage("c", lambda first, second: first + second, "b", "a"),
        )

        assert result == "ba"

    async def test_stages_know_their_run(self, bench: Bench) -> None:
        def ask() -> list[Any]:
            context = get_run_context()
            return [context.run.workflow, context.definition.name, context.stage, context.input]

        assert await bench.compute(stage("asks", ask), n=1) == ["suite", "suite", "asks", {"n": 1}]

    async def test_async_functions_are_awaited(self, bench: Bench) -> None:
        async def double(n: int) -> int:
            await asyncio.sleep(0)
            return 2 * n

        assert await bench.compute(stage("a", double), n=4) == 8

    async def test_mapped_results_come_in_the_order_of_elements(self, bench: Bench) -> None:
        result = await bench.compute(
            stage("list", lambda n: list(range(n))),
            stage("each", lambda x, offset: x + offset, "list", "offset", **MAPPED),
            stage("offset", lambda: 100),
            n=1000,
        )

        assert result == [100 + i for i in range(1000)]

    async def test_async_elements_wait_side_by_side(self, bench: Bench) -> None:
        async def each(x: int) -> int:
            await asyncio.sleep(0.2)
            return x

        begun = asyncio.get_running_loop().time()
        result = await bench.compute(
            stage("each", each, **MAPPED, options={"map_on": "xs"}), xs=list(range(40))
        )

        assert result == list(range(40))
        assert asyncio.get_running_loop().time() - begun < 40 * 0.2 / 2

    async def test_a_mapped_stage_feeds_a_mapped_stage(self, bench: Bench) -> None:
        result = await bench.compute(
            stage("list", lambda: list(range(50))),
            stage("twice", lambda x: 2 * x, "list", **MAPPED),
            stage("plus", lambda x: x + 1, "twice", **MAPPED),
            stage("sum", sum, "plus"),
        )

        assert result == sum(2 * i + 1 for i in range(50))

    async def test_any_iterable_is_mapped_over_and_an_empty_one_gives_nothing(
        self, bench: Bench
    ) -> None:
        async def over(value: Callable[[], Any]) -> Any:
            stages = stage("a", value), stage("b", lambda x: x, "a", **MAPPED)
            return await bench.compute(*stages)

        assert await over(lambda: (1, 2)) == [1, 2]
        assert await over(lambda: {"k": 1}) == ["k"]
        assert await over(list) == []

    async def test_mapping_over_what_is_no_list_says_so(self, bench: Bench) -> None:
        stages = stage("a", lambda: 5), stage("b", lambda x: x, "a", **MAPPED)

        with pytest.raises(StageFailed) as failed:
            await bench.compute(*stages)

        assert failed.value.failure.stage == "b"

    async def test_elements_that_raise_are_left_out_and_counted(self, bench: Bench) -> None:
        outcome = await bench.outcome(
            stage("each", lambda x: 10 // x, **MAPPED, options={"map_on": "xs"}), xs=[1, 0, 2, 0]
        )

        assert json.loads(bytes(outcome.json or b"")) == [10, 5]
        assert (outcome.items, outcome.items_failed) == (4, 2)
        assert [(f.type, f.item) for f in outcome.failures] == [
            ("ZeroDivisionError", 1),
            ("ZeroDivisionError", 3),
        ]

    async def test_without_partial_failure_the_first_error_fails_the_stage(
        self, bench: Bench
    ) -> None:
        stages = stage("a", lambda: [1, 0]), stage("b", lambda x: 1 // x, "a", **ALL_OR_NOTHING)

        with pytest.raises(StageFailed) as failed:
            await bench.compute(*stages)

        assert (failed.value.failure.stage, failed.value.failure.item) == ("b", 1)

    async def test_a_failure_shows_the_users_code_and_brings_the_exception(
        self, bench: Bench
    ) -> None:
        def breaks() -> None:
            raise LookupError("nothing there")

        with pytest.raises(StageFailed) as failed:
            await bench.compute(stage("a", breaks))

        failure = failed.value.failure
        assert (failure.type, failure.message, failure.stage) == (
            "LookupError",
            "nothing there",
            "a",
        )
        assert "in breaks" in failure.traceback
        assert isinstance(failed.value.original(), LookupError)

    async def test_leaving_the_interpreter_fails_the_stage_alone(self, bench: Bench) -> None:
        def leaves() -> None:
            raise SystemExit(3)

        with pytest.raises(StageFailed, match="SystemExit"):
            await bench.compute(stage("a", leaves))

        assert await bench.compute(stage("a", lambda: 1)) == 1

    async def test_arguments_that_are_missing_are_named(self, bench: Bench) -> None:
        with pytest.raises(StageFailed, match=r"'n'.*not given"):
            await bench.compute(stage("a", lambda n: n))

    async def test_secrets_are_opened_where_a_stage_asks_and_masked_where_it_fails(
        self, bench: Bench
    ) -> None:
        async def seal(_: object) -> Sealed:
            return Safe()

        def fails(x: int) -> None:
            raise ValueError(f"{x}: {get_run_context().config['token']}")

        walk = await bench.walk(
            stage("each", fails, **MAPPED, options={"map_on": "xs"}),
            stage("all", lambda found: fails(len(found)), "each"),
            xs=[1],
            config={"token": "$secret{TOKEN}"},
        )
        walk.seal = seal

        with pytest.raises(StageFailed) as caught:
            await walk.compute()

        await bench.executor.release(walk.run.uid)
        kept = [*walk.records["each"].failures, caught.value.failure]
        assert [failure.message for failure in kept] == ["1: ***", "0: ***"]
        assert not any("plain" in failure.traceback for failure in kept)
        assert caught.value.pickled is None

    async def test_large_results_are_handed_on_and_may_be_written_to(self, bench: Bench) -> None:
        def make() -> bytearray:
            return bytearray(1_000_000)

        def use(data: bytearray) -> int:
            data[0] = 7
            return sum(data[:10]) + len(data)

        assert await bench.compute(stage("a", make), stage("b", use, "a")) == 1_000_007

    async def test_a_result_can_be_fetched_as_it_was(self, bench: Bench) -> None:
        walk = await bench.walk(stage("a", lambda: {("a", 1): {2, 3}}))

        outcome = await walk.compute()

        assert await bench.executor.fetch(outcome.ref) == {("a", 1): {2, 3}}

    async def test_what_never_fits_is_refused_at_once(self, bench: Bench) -> None:
        with pytest.raises(NeverFits, match="stage 'big' asks for 1e\\+06 cpus"):
            await bench.compute(stage("big", lambda: 1, resources={"cpus": 1_000_000}))

    async def test_targets_are_looked_up(self, bench: Bench) -> None:
        wrong = await bench.executor.lookup(
            ["json.dumps", "json.dumsp", "no_such_module.f"], code=""
        )

        assert set(wrong) == {"json.dumsp", "no_such_module.f"}
        assert "did you mean 'dump' or 'dumps'" in str(wrong["json.dumsp"])
        assert isinstance(wrong["json.dumsp"], TargetNotFound)
        assert wrong["json.dumsp"].mistyped

    async def test_runs_do_not_mix(self, bench: Bench) -> None:
        results = await asyncio.gather(
            *(bench.compute(stage("same", lambda n, k=k: [n, k]), n=k) for k in range(20))
        )

        assert results == [[k, k] for k in range(20)]

    async def test_progress_counts_elements(self, bench: Bench) -> None:
        await bench.compute(
            stage("each", lambda x: x, **MAPPED, options={"map_on": "xs"}), xs=list(range(30))
        )

        assert (bench.progress[-1].items, bench.progress[-1].items_done) == (30, 30)

    async def test_nodes_tell_what_is_free(self, bench: Bench) -> None:
        (node, *_) = await bench.executor.nodes()

        assert node.alive
        assert node.free["cpus"] <= node.resources["cpus"]


class ProcessExecutorSuite(ExecutorSuite):
    """What every executor does that computes in other processes, beside all the others do."""

    async def test_output_and_log_records_belong_to_the_run(self, bench: Bench) -> None:
        def speaks() -> None:
            print("printed")  # noqa: T201 - what is under test
            logging.getLogger("mine").warning("logged %d", 1)

        await bench.compute(stage("a", speaks))

        assert bench.messages == ["printed", "logged 1"]

    async def test_a_cancelled_run_stops_and_others_go_on(self, bench: Bench) -> None:
        def waits() -> None:
            print("waiting")  # noqa: T201 - tells the test that it began
            threading.Event().wait(60)

        walk = await bench.walk(stage("a", waits))
        computing = asyncio.create_task(walk.compute())
        await asyncio.wait_for(bench.lines.wait(), 30)

        await bench.executor.cancel(walk.run.uid)

        with pytest.raises(RunCancelled):
            await asyncio.wait_for(computing, 5)
        assert await bench.compute(stage("a", lambda: 1)) == 1
