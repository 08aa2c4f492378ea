"""What every executor does with stages that yield their results one by one."""

# ruff: noqa: S101 - a suite is made of asserts about figures

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flowdapt.errors import RunCancelled
from flowdapt.executors import StageFailed
from flowdapt_testing.benches import MAPPED, Bench, BenchSuite, stage
from flowdapt_testing.desks import until

SECONDS = 60.0  #: until something that should happen counts as not happening


def counts(n: int) -> Iterator[int]:
    """Yield numbers."""
    yield from range(n)


async def counts_async(n: int) -> AsyncIterator[int]:
    """Yield numbers, and let others have their turn."""
    for i in range(n):
        yield i
        await asyncio.sleep(0)


def ticks(gate: str, mark: str) -> Iterator[int]:
    """Yield until there is a file at the gate, and leave a mark whatever ends that."""
    try:
        yield 0
        while not Path(gate).exists():
            time.sleep(0.002)
            yield 1
    finally:
        Path(mark).touch()


async def ticks_async(gate: str, mark: str) -> AsyncIterator[int]:
    """Do what :func:`ticks` does."""
    try:
        yield 0
        while not Path(gate).exists():  # noqa: ASYNC240
            await asyncio.sleep(0.002)
            yield 1
    finally:
        Path(mark).touch()  # noqa: ASYNC240


COUNTS = pytest.mark.parametrize("count", [counts, counts_async])
TICKS = pytest.mark.parametrize("tick", [ticks, ticks_async])


class GeneratorSuite(BenchSuite):
    """The part of :class:`flowdapt_testing.executors.ExecutorSuite` about generators."""

    @COUNTS
    async def test_what_a_generator_yields_is_a_list_for_later_stages(
        self, bench: Bench, count: Callable[..., Any]
    ) -> None:
        assert await bench.compute(stage("a", count), stage("b", lambda x: [x, 1], "a"), n=3) == [
            [0, 1, 2],
            1,
        ]
        assert bench.items == []

    @COUNTS
    async def test_a_list_that_is_yielded_can_be_mapped_over(
        self, bench: Bench, count: Callable[..., Any]
    ) -> None:
        stages = stage("a", count), stage("b", lambda x: 2 * x, "a", **MAPPED)

        assert await bench.compute(*stages, n=3) == [0, 2, 4]

    @COUNTS
    async def test_the_generator_of_each_element_makes_one_list(
        self, bench: Bench, count: Callable[..., Any]
    ) -> None:
        each = stage("a", count, **MAPPED, options={"map_on": "n"})

        assert await bench.compute(each, n=[2, 0, 1]) == [[0, 1], [], [0]]

    @COUNTS
    async def test_what_the_last_stage_yields_is_told_in_order(
        self, bench: Bench, count: Callable[..., Any]
    ) -> None:
        assert await bench.compute(stage("a", count), n=2000) == [*range(2000)]

        assert bench.items == [("a", i, i) for i in range(2000)]

    async def test_a_generator_may_yield_nothing(self, bench: Bench) -> None:
        assert await bench.compute(stage("a", counts), n=0) == []
        assert bench.items == []

    async def test_the_result_is_what_was_told_whatever_became_of_it(self, bench: Bench) -> None:
        def same() -> Iterator[dict[str, int]]:
            one: dict[str, int] = {}
            for i in range(3):
                one["i"] = i
                yield one

        assert await bench.compute(stage("a", same)) == [{"i": 0}, {"i": 1}, {"i": 2}]
        assert [item for _, _, item in bench.items] == [{"i": 0}, {"i": 1}, {"i": 2}]

    async def test_what_json_has_no_form_for_is_told_as_results_have_it(self, bench: Bench) -> None:
        def odd() -> Iterator[object]:
            yield {1}
            yield 1j

        assert await bench.compute(stage("a", odd)) == [[1], "1j"]
        assert [item for _, _, item in bench.items] == [[1], "1j"]

    @TICKS
    async def test_an_item_is_told_while_the_generator_goes_on(
        self, bench: Bench, tmp_path: Path, tick: Callable[..., Any]
    ) -> None:
        gate, mark = tmp_path / "gate", tmp_path / "mark"
        given = {"gate": str(gate), "mark": str(mark)}
        computing = asyncio.create_task(bench.compute(stage("a", tick), **given))

        await asyncio.wait_for(bench.some.wait(), SECONDS)
        assert not mark.exists()
        gate.touch()

        result = await asyncio.wait_for(computing, SECONDS)
        assert result == [item for _, _, item in bench.items]
        assert [number for _, number, _ in bench.items] == [*range(len(result))]

    async def test_items_before_a_failure_are_told(self, bench: Bench) -> None:
        def fails() -> Iterator[int]:
            yield 1
            yield 2
            raise ZeroDivisionError("no more")

        with pytest.raises(StageFailed, match="no more") as caught:
            await bench.compute(stage("a", fails))

        assert [item for _, _, item in bench.items] == [1, 2]
        assert caught.value.failure.traceback.count("File ") == 1
        assert "in fails" in caught.value.failure.traceback

    @TICKS
    async def test_a_run_that_is_cancelled_closes_its_generator(
        self, bench: Bench, tmp_path: Path, tick: Callable[..., Any]
    ) -> None:
        mark = tmp_path / "mark"
        walk = await bench.walk(stage("a", tick), gate=str(tmp_path / "gate"), mark=str(mark))
        computing = asyncio.create_task(walk.compute())
        await asyncio.wait_for(bench.some.wait(), SECONDS)

        await bench.executor.cancel(walk.run.uid)

        with pytest.raises(RunCancelled):
            await asyncio.wait_for(computing, SECONDS)
        await until(mark.exists)
        told = len(bench.items)
        assert await bench.compute(stage("b", lambda: 1)) == 1
        assert len(bench.items) == told
        await bench.executor.release(walk.run.uid)
