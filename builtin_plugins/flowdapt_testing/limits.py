"""What every executor does that computes in other processes with what is to stop."""

# ruff: noqa: PLR2004, S101 - a suite is made of asserts about figures

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flowdapt_workers.tallies import unpacked

from flowdapt.context import get_run_context
from flowdapt.errors import RunCancelled
from flowdapt_testing.attempt_stages import HOUR, SOON, heeds, noted, times
from flowdapt_testing.attempts import AttemptSuite, over_input
from flowdapt_testing.benches import Bench, stage
from flowdapt_testing.desks import until


def sleeps(folder: str) -> None:
    """Wait in the system."""
    noted(folder, "begun")
    time.sleep(HOUR)


def stubborn(folder: str) -> None:
    """Catch everything that Python raises, so that only killing helps."""
    noted(folder, "begun")
    end = time.monotonic() + SOON
    while time.monotonic() < end:
        with contextlib.suppress(BaseException):
            time.sleep(1)


def deaf(folder: str) -> None:
    """Keep the interpreter, as some libraries do, so that no handler of a signal is called."""
    noted(folder, "begun")
    sum(range(10**13))


async def blocks(folder: str) -> None:
    """Keep the event loop."""
    stubborn(folder)


def hangs_at(x: int, folder: str) -> list[int]:
    """Take for ever for one element."""
    noted(folder, x)
    if x == 3:
        time.sleep(HOUR)
    return [x, get_run_context().attempt]


def hangs_once(x: int, folder: str) -> list[int]:
    """Take for ever for one element, the first time."""
    if noted(folder, x) == 1 and x == 3:
        time.sleep(HOUR)
    return [x, get_run_context().attempt]


def dies_once(folder: str) -> int:
    """Take the process along, the first time."""
    if noted(folder, "whole") == 1:
        os._exit(1)
    return get_run_context().attempt


def fails_and_dies(folder: str) -> int:
    """Raise the first time and die the second."""
    count = noted(folder, "whole")
    if count == 1:
        raise ConnectionError
    if count == 2:
        os._exit(1)
    return get_run_context().attempt


class LimitSuite(AttemptSuite):
    """The part of :class:`flowdapt_testing.executors.ProcessExecutorSuite` about stopping."""

    @pytest.mark.parametrize("target", [sleeps, stubborn, deaf, blocks])
    async def test_whatever_takes_too_long_is_stopped(
        self, bench: Bench, folder: Path, target: Callable[..., Any]
    ) -> None:
        limited = stage("a", target, options={"timeout": 0.5})

        error = await self._failure(bench, limited, folder=str(folder))

        assert error.failure.type == "TimeoutError"
        assert error.failure.message == "stage 'a' took longer than its time limit of 0.5 seconds"
        assert await bench.compute(stage("b", lambda: 1)) == 1

    async def test_only_the_element_of_a_chunk_fails_that_takes_too_long(
        self, bench: Bench, folder: Path
    ) -> None:
        limited = over_input(hangs_at, timeout=0.5, chunk_size=8)

        outcome = await asyncio.wait_for(
            bench.outcome(limited, xs=list(range(8)), folder=str(folder)), SOON
        )

        assert json.loads(bytes(outcome.json or b"")) == [[x, 1] for x in range(8) if x != 3]
        assert (outcome.items, outcome.items_failed, outcome.attempts) == (8, 1, 1)
        (failed,) = outcome.failed_items
        assert (failed.item, failed.type, failed.attempts) == (3, "TimeoutError", 1)
        said = "element 3 of stage 'each' took longer than its time limit of 0.5 seconds"
        assert failed.message == said
        (took,) = [one for one in unpacked(outcome.elements) if one.item == 3]
        assert took.seconds == 0.5

    async def test_an_element_that_took_too_long_is_tried_again(
        self, bench: Bench, folder: Path
    ) -> None:
        limited = over_input(hangs_once, timeout=0.5, retries=1, chunk_size=1)

        outcome = await asyncio.wait_for(
            bench.outcome(limited, xs=list(range(6)), folder=str(folder)), SOON
        )

        expected = [[x, 2 if x == 3 else 1] for x in range(6)]
        assert json.loads(bytes(outcome.json or b"")) == expected
        assert (outcome.attempts, times(folder)["3"]) == (2, 2)

    async def test_a_cancelled_stage_that_looks_cleans_up_before_it_is_interrupted(
        self, bench: Bench, folder: Path
    ) -> None:
        walk = await bench.walk(stage("a", heeds), folder=str(folder))
        computing = asyncio.create_task(walk.compute())
        await until(lambda: times(folder))

        await bench.executor.cancel(walk.run.uid)

        with pytest.raises(RunCancelled):
            await asyncio.wait_for(computing, 5)
        await until(lambda: times(folder) == {"clean-0": 1})

    async def test_a_cancelled_chunk_that_looks_is_not_gone_on_with(
        self, bench: Bench, folder: Path
    ) -> None:
        chunk = over_input(lambda x, folder: heeds(folder, x), chunk_size=4)
        walk = await bench.walk(chunk, xs=[0, 1, 2, 3], folder=str(folder))
        computing = asyncio.create_task(walk.compute())
        await until(lambda: times(folder))

        await bench.executor.cancel(walk.run.uid)

        with pytest.raises(RunCancelled):
            await asyncio.wait_for(computing, 5)
        await until(lambda: "clean-0" in times(folder))
        for n in range(4):  # others are computed meanwhile, where it would go on
            assert await bench.compute(stage("b", lambda n=n: n)) == n
        assert times(folder) == {"clean-0": 1}

    async def test_a_stage_whose_worker_died_knows_that_it_is_another_attempt(
        self, bench: Bench, folder: Path
    ) -> None:
        assert await bench.compute(stage("a", dies_once), folder=str(folder)) == 2

    async def test_a_worker_that_dies_takes_none_of_the_retries(
        self, bench: Bench, folder: Path
    ) -> None:
        tried = stage("a", fails_and_dies, options={"retries": 1})

        outcome = await bench.outcome(tried, folder=str(folder))

        assert (outcome.json, outcome.attempts) == (b"3", 3)
