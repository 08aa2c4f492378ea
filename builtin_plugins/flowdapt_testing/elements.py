"""What every executor does with the elements of a list."""

# ruff: noqa: S101 - a suite is made of asserts about figures

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from flowdapt.executors import StageFailed
from flowdapt_testing.benches import MAPPED, Bench, BenchSuite, stage

ALL_OR_NOTHING = {**MAPPED, "options": {"allow_partial_failure": False}}


class ElementSuite(BenchSuite):
    """The part of :class:`flowdapt_testing.executors.ExecutorSuite` about parameterized stages."""

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

    async def test_progress_counts_elements(self, bench: Bench) -> None:
        await bench.compute(
            stage("each", lambda x: x, **MAPPED, options={"map_on": "xs"}), xs=list(range(30))
        )

        assert (bench.progress[-1].items, bench.progress[-1].items_done) == (30, 30)
