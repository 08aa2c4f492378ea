"""What every executor tells of each element of a list: how long it took, and how often."""

# ruff: noqa: PLR2004, S101 - a suite is made of asserts about figures

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from flowdapt_workers.tallies import unpacked

from flowdapt.executors import Outcome, StageFailed
from flowdapt.runs import Selection
from flowdapt_testing.benches import MAPPED, Bench, BenchSuite, stage

LONG = 0.2  #: seconds that some elements take


def slow_at_3(x: int) -> int:
    """Take long for one element, and fail for two others."""
    if x == 3:
        time.sleep(LONG)
    return x + 0 // (x % 5)


async def slow_at_3_async(x: int) -> int:
    """Do what :func:`slow_at_3` does."""
    if x == 3:
        await asyncio.sleep(LONG)
    return x + 0 // (x % 5)


def fails_first(x: int, folder: str) -> int:
    """Fail at once where it is not even, and take long the next time."""
    if x % 2:
        mark = Path(folder) / f"tried-{x}"
        if not mark.exists():
            mark.touch()
            raise ConnectionError(x)
        time.sleep(LONG)
    return x


def tallied(outcome: Outcome) -> dict[int, tuple[float, int]]:
    """Return the seconds and the attempts of each element."""
    return {one.item: (one.seconds, one.attempts) for one in unpacked(outcome.elements)}


class TallySuite(BenchSuite):
    """The part of :class:`flowdapt_testing.executors.ExecutorSuite` about single elements."""

    @pytest.mark.parametrize("chunk", [None, 4])
    @pytest.mark.parametrize("target", [slow_at_3, slow_at_3_async])
    async def test_of_each_element_it_is_told_how_long_it_took(
        self, bench: Bench, target: Callable[[int], object], chunk: int | None
    ) -> None:
        options = {"map_on": "x", **({"chunk_size": chunk} if chunk else {})}

        outcome = await bench.outcome(
            stage("each", target, **MAPPED, options=options), x=list(range(10))
        )

        told = tallied(outcome)
        assert [*told] == list(range(10))  # those that failed, too
        assert outcome.items_failed == 2
        assert told[3][0] > LONG * 0.9
        assert min(seconds for seconds, _ in told.values()) < LONG * 0.9
        assert all(seconds >= 0 and attempts == 1 for seconds, attempts in told.values())

    async def test_of_elements_that_are_tried_again_the_last_attempt_counts(
        self, bench: Bench, tmp_path: Path
    ) -> None:
        options = {"map_on": "x", "retries": 1, "chunk_size": 4}

        outcome = await bench.outcome(
            stage("each", fails_first, **MAPPED, options=options),
            x=list(range(6)),
            folder=str(tmp_path),
        )

        told = tallied(outcome)
        assert {item: attempts for item, (_, attempts) in told.items()} == {
            item: 1 + item % 2 for item in range(6)
        }
        assert all(told[item][0] > LONG * 0.9 for item in (1, 3, 5))

    async def test_a_stage_that_fails_tells_of_the_element_at_fault_and_of_those_before(
        self, bench: Bench
    ) -> None:
        options = {"map_on": "x", "allow_partial_failure": False, "chunk_size": 1}
        walk = await bench.walk(
            stage("each", lambda x: 1 // (29 - x), **MAPPED, options=options), x=list(range(60))
        )

        with pytest.raises(StageFailed):
            await walk.compute()

        await bench.executor.release(walk.run.uid)
        record = walk.records["each"]
        told = {one.item: one.seconds for one in unpacked(record.elements)}
        assert record.failure is not None
        assert record.failure.item == 29
        assert 29 in told
        assert len(told) > 1
        assert all(seconds >= 0 for seconds in told.values())

    async def test_elements_have_the_index_that_they_had_in_the_first_list(
        self, bench: Bench
    ) -> None:
        only = {"each": Selection(of=400, items=(0, 5, 7, 8, 9, 399))}
        walk = await bench.walk(
            stage("each", lambda x: x + 0 // x, **MAPPED, options={"map_on": "x"}),
            stage("next", lambda x: x + 0 // (x - 8), "each", **MAPPED),
            stage("last", lambda x: x, "next", **MAPPED),
            only=only,
            x=list(range(400)),
        )

        outcome = await walk.compute()

        await bench.executor.release(walk.run.uid)
        assert json.loads(bytes(outcome.json or b"")) == [5, 7, 9, 399]
        items = {
            name: [one.item for one in unpacked(record.elements)]
            for name, record in walk.records.items()
            if name != "last"
        }
        assert items == {"each": [0, 5, 7, 8, 9, 399], "next": [5, 7, 8, 9, 399]}
        assert [*tallied(outcome)] == [5, 7, 9, 399]

    async def test_of_many_elements_little_is_kept(self, bench: Bench) -> None:
        outcome = await bench.outcome(
            stage("each", lambda x: x, **MAPPED, options={"map_on": "x"}), x=list(range(5000))
        )

        assert len(tallied(outcome)) == 5000
        assert len(outcome.elements or b"") < 5 * 5000

    async def test_where_there_are_no_elements_nothing_is_told(self, bench: Bench) -> None:
        whole = await bench.outcome(stage("whole", lambda: [1, 2]))
        none = await bench.outcome(
            stage("each", lambda x: x, **MAPPED, options={"map_on": "x"}), x=[]
        )

        assert (whole.elements, none.elements) == (None, None)
