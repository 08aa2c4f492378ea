"""What every executor does with the elements of a list."""

# ruff: noqa: S101 - a suite is made of asserts about figures

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from flowdapt.context import get_run_context
from flowdapt.executors import StageFailed
from flowdapt.runs import Selection
from flowdapt_testing.benches import MAPPED, Bench, BenchSuite, stage

ALL_OR_NOTHING = {**MAPPED, "options": {"allow_partial_failure": False}}

#: in each form in which a list is mapped over: as a part of the input, or as a stage's result
LISTS = pytest.mark.parametrize("given", [True, False], ids=["of the input", "of a stage"])


def placed(x: int) -> list[Any]:
    """Return an element with the index that its stage sees."""
    return [x, get_run_context().item]


async def placed_async(x: int) -> list[Any]:
    """Do what :func:`placed` does."""
    return placed(x)


def mapped(target: Callable[..., Any], *, given: bool) -> list[dict[str, Any]]:
    """Return stages of which the last, ``each``, maps over the numbers ``xs``."""
    if given:
        return [stage("each", target, **MAPPED, options={"map_on": "xs"})]
    return [stage("list", lambda xs: xs), stage("each", target, "list", **MAPPED)]


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
        over_input = stage("each", lambda x: x, **MAPPED, options={"map_on": "xs"})
        assert await bench.compute(over_input, xs=[]) == []

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

    # The place of an element

    @LISTS
    @pytest.mark.parametrize("target", [placed, placed_async])
    async def test_an_element_knows_its_place_in_the_list(
        self, bench: Bench, target: Callable[..., Any], *, given: bool
    ) -> None:
        result = await bench.compute(*mapped(target, given=given), xs=list(range(300)))

        assert result == [[i, i] for i in range(300)]

    @LISTS
    @pytest.mark.parametrize("target", [placed, placed_async])
    async def test_only_the_chosen_elements_are_computed_and_in_their_place(
        self, bench: Bench, target: Callable[..., Any], *, given: bool
    ) -> None:
        items = (0, 1, 2, 150, 151, 298)
        only = {"each": Selection(of=300, items=items)}

        outcome = await bench.outcome(*mapped(target, given=given), only=only, xs=list(range(300)))

        assert json.loads(bytes(outcome.json or b"")) == [[i, i] for i in items]
        assert (outcome.items, outcome.items_failed) == (6, 0)

    @LISTS
    async def test_chosen_elements_that_fail_again_are_named_by_their_place(
        self, bench: Bench, *, given: bool
    ) -> None:
        only = {"each": Selection(of=6, items=(1, 3, 5))}
        stages = mapped(lambda x: 10 // (x - 3), given=given)

        outcome = await bench.outcome(*stages, only=only, xs=list(range(6)))

        assert (outcome.items, outcome.items_failed) == (3, 1)
        assert [(f.item, f.type) for f in outcome.failed_items] == [(3, "ZeroDivisionError")]
        assert [failure.item for failure in outcome.failures] == [3]

    @LISTS
    @pytest.mark.parametrize("count", [0, 2, 4])
    async def test_elements_are_not_chosen_of_a_list_of_another_length(
        self, bench: Bench, count: int, *, given: bool
    ) -> None:
        only = {"each": Selection(of=3, items=(1,))}

        with pytest.raises(StageFailed) as failed:
            await bench.outcome(*mapped(placed, given=given), only=only, xs=[7] * count)

        assert failed.value.failure.type == "ValueError"
        assert failed.value.failure.message == (
            f"stage 'each' maps over {count} elements now, and over 3 when some failed, "
            "so which of them these were is not known: retry the whole run"
        )

    @pytest.mark.parametrize("chunk", [None, 7])
    @pytest.mark.parametrize("target", [placed, placed_async])
    async def test_an_element_keeps_its_place_through_mapped_stages_whatever_failed_before(
        self, bench: Bench, target: Callable[..., Any], chunk: int | None
    ) -> None:
        options = {"options": {"chunk_size": chunk}} if chunk else {}

        result = await bench.compute(
            *mapped(lambda x: x + 0 // (x % 5), given=False),
            stage("second", lambda x: x + 0 // (x % 3), "each", **MAPPED, **options),
            stage("last", target, "second", **MAPPED, **options),
            xs=list(range(200)),
        )

        assert result == [[i, i] for i in range(200) if i % 5 and i % 3]

    async def test_what_fails_behind_other_mapped_stages_is_named_by_its_first_place(
        self, bench: Bench
    ) -> None:
        walk = await bench.walk(
            *mapped(lambda x: x + 0 // x, given=True),
            stage("second", lambda x: x // (x % 4), "each", **MAPPED),
            stage("count", len, "second"),
            only={"each": Selection(of=100, items=(0, 7, 8, 9, 40, 99))},
            xs=list(range(100)),
        )

        outcome = await walk.compute()

        await bench.executor.release(walk.run.uid)
        assert outcome.json == b"3"
        failed = {name: [f.item for f in r.failed_items] for name, r in walk.records.items()}
        assert failed == {"each": [0], "second": [8, 40], "count": []}
