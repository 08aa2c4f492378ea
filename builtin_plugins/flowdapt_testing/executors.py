"""What every executor does with the stages of a run."""

# ruff: noqa: PLR2004, S101 - a suite is made of asserts about figures

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flowdapt_workers.failures import original

from flowdapt.context import Sealed, get_run_context
from flowdapt.errors import NeverFits, RunCancelled, TargetNotFound
from flowdapt.executors import StageFailed
from flowdapt_testing.attempts import AttemptSuite
from flowdapt_testing.benches import MAPPED, Bench, stage
from flowdapt_testing.desks import until
from flowdapt_testing.elements import ElementSuite
from flowdapt_testing.generators import GeneratorSuite
from flowdapt_testing.limits import LimitSuite
from flowdapt_testing.tallies import TallySuite

SECONDS = 60.0  #: until something that should happen counts as not happening


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


class ExecutorSuite(ElementSuite, AttemptSuite, GeneratorSuite, TallySuite):
    """What every :class:`flowdapt.executors.Executor` does.

    A subclass says how one is made, with at least two processors, and not yet started::

        class TestMyExecutor(ProcessExecutorSuite):
            @pytest.fixture
            def executor(self):
                return MyExecutor(cpus=2)
    """

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
        assert isinstance(original(failed.value), LookupError)

    async def test_leaving_the_interpreter_fails_the_stage_alone(self, bench: Bench) -> None:
        def leaves() -> None:
            raise SystemExit(3)

        with pytest.raises(StageFailed, match="SystemExit"):
            await bench.compute(stage("a", leaves))

        assert await bench.compute(stage("a", lambda: 1)) == 1

    async def test_the_end_of_an_iterator_fails_the_stage_and_is_named(self, bench: Bench) -> None:
        computing = bench.compute(stage("a", lambda: next(iter(()))))

        with pytest.raises(StageFailed, match=r"next\(\) does where nothing is left") as failed:
            await asyncio.wait_for(computing, SECONDS)

        assert failed.value.failure.type == "StopIteration"

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

    async def test_nodes_tell_what_is_free(self, bench: Bench) -> None:
        (node, *_) = await bench.executor.nodes()

        assert node.alive
        assert node.free["cpus"] <= node.resources["cpus"]


class ProcessExecutorSuite(ExecutorSuite, LimitSuite):
    """What every executor does that computes in other processes, beside all the others do."""

    async def test_output_and_log_records_belong_to_the_run(self, bench: Bench) -> None:
        def speaks() -> None:
            print("printed")  # noqa: T201 - what is under test
            logging.getLogger("mine").warning("logged %d", 1)

        await bench.compute(stage("a", speaks))

        assert bench.messages == ["printed", "logged 1"]

    async def test_what_is_yielded_and_cannot_be_pickled_is_named(self, bench: Bench) -> None:
        def locks() -> Iterator[object]:
            yield 1
            yield threading.Lock()

        with pytest.raises(StageFailed, match="stage 'a' returned cannot be pickled"):
            await bench.compute(stage("a", locks))

    async def test_a_generator_without_pauses_is_closed_when_its_run_is_cancelled(
        self, bench: Bench, tmp_path: Path
    ) -> None:
        def endless(mark: str) -> Iterator[str]:
            try:
                while True:
                    yield "x" * 1000
            finally:
                Path(mark).touch()

        mark = tmp_path / "mark"
        walk = await bench.walk(stage("a", endless), mark=str(mark))
        computing = asyncio.create_task(walk.compute())
        await asyncio.wait_for(bench.some.wait(), 120)

        await bench.executor.cancel(walk.run.uid)

        with pytest.raises(RunCancelled):
            await asyncio.wait_for(computing, 60)
        await until(mark.exists)
        await bench.executor.release(walk.run.uid)
        assert [number for _, number, _ in bench.items] == [*range(len(bench.items))]
        assert await bench.compute(stage("b", lambda: 1)) == 1

    async def test_how_large_results_are_is_on_record(self, bench: Bench) -> None:
        walk = await bench.walk(
            stage("whole", lambda: bytes(200_000)),
            stage("each", lambda x, whole: whole[:1000] * x, "list", "whole", **MAPPED),
            stage("list", lambda: [1, 2, 3]),
            stage("last", lambda x: x[:500] * 4, "each", **MAPPED),
        )

        outcome = await walk.compute()

        await bench.executor.release(walk.run.uid)
        records = {name: record.result_bytes or 0 for name, record in walk.records.items()}
        assert 200_000 < records["whole"] < 201_000
        assert 6000 < records["each"] < 7000
        assert 3 * 2000 < (outcome.result_bytes or 0) < 7000

    async def test_a_cancelled_run_stops_and_others_go_on(self, bench: Bench) -> None:
        def waits() -> None:
            print("waiting")  # noqa: T201 - tells the test that it began
            threading.Event().wait(60)

        walk = await bench.walk(stage("a", waits))
        computing = asyncio.create_task(walk.compute())
        await asyncio.wait_for(bench.lines.wait(), 120)

        await bench.executor.cancel(walk.run.uid)

        with pytest.raises(RunCancelled):
            await asyncio.wait_for(computing, 5)
        assert await bench.compute(stage("a", lambda: 1)) == 1
