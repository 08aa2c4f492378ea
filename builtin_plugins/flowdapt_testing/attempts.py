"""What every executor does with stages that fail and are tried again, or take too long."""

# ruff: noqa: PLR2004, S101 - a suite is made of asserts about figures

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flowdapt_workers.failures import original

from flowdapt.context import get_run_context
from flowdapt.errors import RunCancelled, StageError
from flowdapt.executors import StageFailed
from flowdapt.runs import FailedItem
from flowdapt.walks import failure_of
from flowdapt_testing.attempt_stages import (
    HOUR,
    SOON,
    breaks,
    each,
    each_async,
    fails_twice,
    fails_twice_async,
    heeds,
    heeds_async,
    never,
    one_never,
    times,
    waits_always,
    waits_at,
)
from flowdapt_testing.benches import MAPPED, Bench, BenchSuite, stage
from flowdapt_testing.desks import until


def over_input(target: Callable[..., Any], **options: Any) -> dict[str, Any]:
    """Return a stage that maps over the numbers ``xs``."""
    return stage("each", target, **MAPPED, options={"map_on": "xs", **options})


class AttemptSuite(BenchSuite):
    """The part of :class:`flowdapt_testing.executors.ExecutorSuite` about attempts."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """Where stages note what they do."""
        made = tmp_path / "noted"
        made.mkdir()
        return made

    async def _failure(self, bench: Bench, *stages: Any, **values: Any) -> StageFailed:
        with pytest.raises(StageFailed) as failed:
            await asyncio.wait_for(bench.outcome(*stages, **values), SOON)
        return failed.value

    # Retries

    @pytest.mark.parametrize("target", [fails_twice, fails_twice_async])
    async def test_a_stage_that_raises_is_tried_again_and_knows_it(
        self, bench: Bench, folder: Path, target: Callable[..., Any]
    ) -> None:
        walk = await bench.walk(stage("a", target, options={"retries": 3}), folder=str(folder))

        outcome = await walk.compute()

        await bench.executor.release(walk.run.uid)
        assert json.loads(bytes(outcome.json or b"")) == [3, None]
        assert (outcome.attempts, walk.last and walk.last.attempts) == (3, 3)
        assert max(progress.attempts for progress in bench.progress) == 3

    async def test_a_stage_fails_once_it_was_tried_often_enough(
        self, bench: Bench, folder: Path
    ) -> None:
        tried = stage("a", never, options={"retries": 2})

        error = await self._failure(bench, tried, folder=str(folder))

        assert (error.failure.type, error.failure.message) == ("Flaky", "never")
        assert times(folder) == {"0": 3}

    async def test_nothing_is_tried_again_unless_the_stage_says_so(
        self, bench: Bench, folder: Path
    ) -> None:
        await self._failure(bench, stage("a", never), folder=str(folder))

        assert times(folder) == {"0": 1}

    @pytest.mark.parametrize("chunk", [1, 5, 20])
    @pytest.mark.parametrize("target", [each, each_async])
    async def test_only_elements_that_fail_are_computed_again_and_keep_their_place(
        self, bench: Bench, folder: Path, target: Callable[..., Any], chunk: int
    ) -> None:
        outcome = await bench.outcome(
            over_input(target, retries=1, chunk_size=chunk),
            xs=list(range(20)),
            folder=str(folder),
        )

        assert json.loads(bytes(outcome.json or b"")) == [[x, 1 + x % 2] for x in range(20)]
        assert times(folder) == {str(x): 1 + x % 2 for x in range(20)}
        assert (outcome.items, outcome.items_failed, outcome.attempts) == (20, 0, 2)

    async def test_stages_that_map_over_one_another_get_elements_in_their_place(
        self, bench: Bench, folder: Path
    ) -> None:
        result = await bench.compute(
            stage("folder", lambda folder: folder),
            over_input(lambda x, folder: each(x, folder)[0], retries=1, chunk_size=7),
            stage(
                "next",
                lambda x, folder: each(x + 100, folder)[0] - 100,
                "each",
                "folder",
                **MAPPED,
                options={"retries": 1},
            ),
            stage("last", lambda x: [x, get_run_context().item], "next", **MAPPED),
            xs=list(range(40)),
            folder=str(folder),
        )

        assert result == [[x, x] for x in range(40)]

    async def test_an_element_that_fails_for_good_is_on_record_once(
        self, bench: Bench, folder: Path
    ) -> None:
        outcome = await bench.outcome(
            over_input(one_never, retries=2), xs=list(range(6)), folder=str(folder)
        )

        assert json.loads(bytes(outcome.json or b"")) == [0, 1, 2, 4, 5]
        assert outcome.failed_items == (FailedItem(3, "Flaky", "never", 3),)
        assert [failure.item for failure in outcome.failures] == [3]
        assert times(folder) == {"3": 3}

    async def test_elements_that_all_are_needed_are_tried_again_before_the_stage_fails(
        self, bench: Bench, folder: Path
    ) -> None:
        options = {"retries": 1, "allow_partial_failure": False, "chunk_size": 4}
        result = await bench.compute(
            over_input(each, **options), xs=list(range(8)), folder=str(folder)
        )

        error = await self._failure(
            bench, over_input(one_never, **options), xs=list(range(8)), folder=str(folder)
        )

        assert result == [[x, 1 + x % 2] for x in range(8)]
        assert (error.failure.type, error.failure.item) == ("Flaky", 3)

    @pytest.mark.parametrize(
        ("kind", "retry_on", "count"),
        [
            ("flaky", ["Flaky"], 2),
            ("flaky", ["KeyError", "ConnectionError"], 2),
            ("flaky", ["flowdapt_testing.attempt_stages.Flaky"], 2),
            ("flaky", ["OSError"], 2),
            ("flaky", ["KeyError"], 1),
            ("flaky", ["other.Flaky"], 1),
            ("json", ["json.JSONDecodeError"], 2),
            ("json", ["json.decoder.JSONDecodeError"], 2),
            ("json", ["builtins.ValueError"], 2),
            ("key", ["TimeoutError"], 1),
        ],
    )
    async def test_it_is_tried_again_after_the_errors_that_the_stage_names(
        self, bench: Bench, folder: Path, kind: str, retry_on: list[str], count: int
    ) -> None:
        tried = stage("a", breaks, options={"retries": 1, "retry_on": retry_on})

        await self._failure(bench, tried, kind=kind, folder=str(folder))

        assert times(folder) == {kind: count}

    @pytest.mark.parametrize(
        ("target", "kind"),
        [
            (lambda missing: missing, "ValueError"),
            ("json.no_such_thing", "TargetNotFound"),
            ("no_such_module.f", "TargetNotFound"),
        ],
        ids=["argument", "function", "module"],
    )
    async def test_what_is_the_same_another_time_is_not_tried_again(
        self, bench: Bench, target: Any, kind: str
    ) -> None:
        tried = stage("a", target, options={"retries": 5, "backoff": HOUR})

        with pytest.raises(StageError) as failed:
            await asyncio.wait_for(bench.outcome(tried), SOON)

        assert failure_of(failed.value).type == kind

    @pytest.mark.parametrize("options", [{}, MAPPED], ids=["simple", "mapped"])
    async def test_options_that_cannot_be_followed_fail_the_stage(
        self, bench: Bench, options: dict[str, Any]
    ) -> None:
        wrong = stage("a", abs, **options, options={"map_on": "xs", "retries": -1})

        error = await self._failure(bench, wrong, xs=[1])

        assert "'retries' is -1, and must be a whole number" in error.failure.message

    # Pauses

    async def test_a_pause_takes_no_place_and_ends_with_its_run(
        self, bench: Bench, folder: Path
    ) -> None:
        options = {"retries": 1, "backoff": HOUR}
        walk = await bench.walk(stage("a", never, options=options), folder=str(folder))
        computing = asyncio.create_task(walk.compute())
        await until(lambda: times(folder))
        await until(lambda: bench.progress[-1].attempts == 2)

        others = [bench.compute(stage("a", lambda n=n: n)) for n in range(8)]
        computed = await asyncio.wait_for(asyncio.gather(*others), SOON)
        await bench.executor.cancel(walk.run.uid)

        with pytest.raises(RunCancelled):
            await asyncio.wait_for(computing, 5)
        await bench.executor.release(walk.run.uid)
        assert (computed, times(folder)) == (list(range(8)), {"0": 1})

    async def test_other_elements_do_not_wait_for_a_pause(self, bench: Bench, folder: Path) -> None:
        paused = over_input(one_never, retries=1, backoff={"seconds": HOUR}, chunk_size=1)
        walk = await bench.walk(paused, xs=list(range(12)), folder=str(folder))
        computing = asyncio.create_task(walk.compute())

        await until(lambda: bench.progress and bench.progress[-1].items_done == 11)
        await bench.executor.cancel(walk.run.uid)

        with pytest.raises(RunCancelled):
            await asyncio.wait_for(computing, 5)
        await bench.executor.release(walk.run.uid)
        assert times(folder) == {"3": 1}

    async def test_after_a_pause_it_goes_on(self, bench: Bench, folder: Path) -> None:
        options = {"retries": 3, "backoff": {"seconds": 0.01, "factor": 2, "jitter": 0.5}}
        values = {"xs": list(range(6)), "folder": str(folder)}

        whole = await bench.compute(stage("a", fails_twice, options=options), **values)
        elements = await bench.compute(over_input(each, **options), **values)

        assert whole == [3, None]
        assert elements == [[x, 1 + x % 2] for x in range(6)]

    # Time limits

    async def test_an_async_stage_that_takes_too_long_fails_and_says_so(
        self, bench: Bench, folder: Path
    ) -> None:
        limited = stage("slow", waits_always, options={"timeout": 0.25})

        error = await self._failure(bench, limited, folder=str(folder))

        assert error.failure.type == "TimeoutError"
        said = "stage 'slow' took longer than its time limit of 0.25 seconds"
        assert error.failure.message == said
        assert isinstance(original(error), TimeoutError)

    @pytest.mark.parametrize("chunk", [1, 4])
    async def test_an_async_element_that_takes_too_long_fails_alone(
        self, bench: Bench, folder: Path, chunk: int
    ) -> None:
        limited = over_input(waits_at, timeout=0.5, chunk_size=chunk)

        outcome = await asyncio.wait_for(
            bench.outcome(limited, xs=[1, 2, 3, 4, 5, 6], folder=str(folder)), SOON
        )

        # One by one, where it was in a chunk: then it works, as it has been computed before.
        kept = [1, 2, 4, 5, 6] if times(folder) == {"3": 1} else [1, 2, 3, 4, 5, 6]
        assert json.loads(bytes(outcome.json or b"")) == kept

    async def test_what_took_too_long_is_tried_again(self, bench: Bench, folder: Path) -> None:
        limits = {"timeout": 0.5, "retries": 1, "retry_on": ["TimeoutError"], "chunk_size": 1}

        outcome = await asyncio.wait_for(
            bench.outcome(over_input(waits_at, **limits), xs=[1, 2, 3, 4], folder=str(folder)), SOON
        )

        assert json.loads(bytes(outcome.json or b"")) == [1, 2, 3, 4]
        assert (outcome.attempts, times(folder)) == (2, {"3": 2})

    async def test_it_is_not_tried_again_where_other_errors_are_named(
        self, bench: Bench, folder: Path
    ) -> None:
        limits = {"timeout": 0.25, "retries": 5, "retry_on": ["Flaky"]}

        await self._failure(bench, stage("a", waits_always, options=limits), folder=str(folder))

        assert times(folder) == {"whole": 1}

    async def test_who_heeds_that_its_time_is_over_cleans_up_and_has_failed_all_the_same(
        self, bench: Bench, folder: Path
    ) -> None:
        limited = stage("a", heeds, options={"timeout": 0.25})

        error = await self._failure(bench, limited, folder=str(folder))

        assert error.failure.type == "TimeoutError"
        assert times(folder) == {"clean-0": 1}

    async def test_a_cancelled_async_stage_sees_that_it_is(
        self, bench: Bench, folder: Path
    ) -> None:
        walk = await bench.walk(stage("a", heeds_async), folder=str(folder))
        computing = asyncio.create_task(walk.compute())
        await until(lambda: times(folder))

        await bench.executor.cancel(walk.run.uid)

        with pytest.raises(RunCancelled):
            await asyncio.wait_for(computing, 5)
        await until(lambda: sum(times(folder).values()) == 2)
        assert times(folder) == {"temporary": 1, "cancelled-True": 1}
