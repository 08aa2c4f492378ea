"""How many calls there are at once, and in a time, over all runs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from flowdapt.errors import InvalidResource

from .conftest import House, stage

pytestmark = pytest.mark.anyio

SOURCE = """
import asyncio
import time
from pathlib import Path

from flowdapt import get_run_context


def folder():
    return Path(get_run_context().input["folder"])


def note(what):
    with open(folder() / "times", "a") as file:
        file.write(f"{time.monotonic()} {what}\\n")


def numbers(count=8):
    return list(range(count))


def call(number=0):
    note("+")
    time.sleep(0.03)
    note("-")
    return number


async def ask(number=0):
    note("+")
    await asyncio.sleep(0.03)
    note("-")
    return number


def dies(number=0):
    note("+")
    if not (folder() / "died").exists():
        (folder() / "died").touch()
        import os
        os._exit(1)
    note("-")
    return number
"""


@pytest.fixture(autouse=True)
def source(house: House) -> None:
    """Have other functions in the house."""
    house.module.write_text(SOURCE)


def times(house: House) -> list[tuple[float, int]]:
    """Return when calls began and ended, with 1 and -1, in their order."""
    lines = (house.app_dir / "times").read_text().splitlines()
    read = (line.split() for line in lines)
    return sorted((float(at), 1 if what == "+" else -1) for at, what in read)


def most_at_once(house: House) -> int:
    """Return how many calls there were at once, at most."""
    now = most = 0
    for _, change in times(house):
        now += change
        most = max(most, now)
    return most


@pytest.mark.parametrize("target", ["call", "ask"])
async def test_so_many_elements_are_computed_at_once(house: House, target: str) -> None:
    limited = stage("each", "numbers", target=target, mapped=True, concurrency=2)
    await house.apply(stage("numbers"), limited)

    assert await house.result() == [*range(8)]

    assert most_at_once(house) == 2


async def test_stages_of_several_workflows_count_together(house: House) -> None:
    group: dict[str, Any] = {"concurrency": {"limit": 1, "group": "service"}}
    await house.apply(stage("one", target="call", **group))
    await house.apply(
        stage("numbers"), stage("two", "numbers", target="ask", mapped=True, **group), name="other"
    )

    runs = [await house.begin("farm") for _ in range(5)]
    runs += [await house.begin("other", count=3)]
    for run in runs:
        await house.end(run)

    assert len(times(house)) == 2 * 8
    assert most_at_once(house) == 1


async def test_so_many_calls_begin_in_a_time(house: House) -> None:
    rate = {"limit": 2, "seconds": 0.4}
    await house.apply(
        stage("numbers"), stage("each", "numbers", target="ask", mapped=True, rate=rate)
    )

    assert await house.result(count=6) == [*range(6)]

    begun = [at for at, change in times(house) if change == 1]
    # Told by the server, seen by the stages: a slow machine begins late, and never too early by
    # more than a message is late.
    assert begun[4] - begun[0] > 0.4
    assert all(later - earlier > 0.2 for earlier, later in zip(begun, begun[2:], strict=False))


async def test_stages_of_several_workflows_share_a_rate(house: House) -> None:
    rate: dict[str, Any] = {"rate": {"limit": 1, "seconds": 0.4, "group": "service"}}
    await house.apply(stage("call", **rate))
    await house.apply(stage("ask", **rate), name="other")

    for run in [await house.begin(name) for name in ("farm", "other")]:
        await house.end(run)

    first, second = (at for at, change in times(house) if change == 1)
    assert second - first > 0.2


async def test_other_work_goes_on_meanwhile(house: House) -> None:
    waits = stage("each", "numbers", target="ask", mapped=True, rate={"limit": 1, "seconds": 60})
    await house.apply(stage("numbers"), waits)
    await house.apply(stage("call"), name="other")
    run = await house.begin()
    await house.until((house.app_dir / "times").exists)

    assert await house.result("other") == 0

    await house.engine.cancel(run.uid)


async def test_the_place_of_a_call_whose_worker_died_is_free_again(house: House) -> None:
    limited = stage("each", "numbers", target="dies", mapped=True, concurrency=1)
    await house.apply(stage("numbers"), limited)

    assert await house.result(count=4) == [*range(4)]


async def test_the_place_of_a_cancelled_call_is_free_again(house: House) -> None:
    group: dict[str, Any] = {"concurrency": {"limit": 1, "group": "g"}}
    house.module.write_text(SOURCE + "\n\ndef long():\n    note('+')\n    time.sleep(60)\n")
    await house.apply(stage("long", **group))
    await house.apply(stage("call", **group), name="other")
    first = await house.begin()
    await house.until((house.app_dir / "times").exists)
    second = asyncio.ensure_future(house.result("other"))

    await house.engine.cancel(first.uid)

    assert await second == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"concurrency": 0}, "needs a limit, a whole number above 0, and not 0"),
        ({"concurrency": {"group": "g"}}, "needs a limit"),
        ({"concurrency": {"limit": 1, "grp": "g"}}, "has no 'grp' (did you mean 'group'?)"),
        ({"rate": {"limit": 1, "seconds": 0}}, "'rate.seconds' is 0, and must be a number above 0"),
        ({"retries": -1}, "retries"),
        ({"backoff": {"factor": 2}}, "needs 'seconds'"),
        ({"timeout": 0}, "timeout"),
        ({"retry_on": 3}, "retry_on"),
    ],
)
async def test_options_that_mean_nothing_are_refused(
    house: House, options: dict[str, Any], said: str
) -> None:
    (key,) = options
    with pytest.raises(InvalidResource, match=rf"spec\.stages\.0\.options\.{key}") as refused:
        await house.apply(stage("numbers", **options))

    assert said in str(refused.value)
