"""Clocks that are set while runs are in progress."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flowdapt.runs import RunState
from flowdapt.storage import RunQuery

from .conftest import House, stage

pytestmark = pytest.mark.anyio


class Clock:
    """What tells the time here, in place of the machine's."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def now(self, zone: Any = UTC) -> datetime:
        return datetime.now(zone) + self.ahead


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("flowdapt.resources.datetime", made)
    return made


@pytest.mark.parametrize("hours", [-2, 2])
async def test_a_run_goes_on_whatever_its_clock_is_set_to(
    house: House, clock: Clock, hours: int
) -> None:
    await house.serve()
    stages = stage("wait", total_timeout=60, retries=1), stage("last", "wait", cache="1h")
    await house.apply(*stages, timeout=60)
    run = await house.begin()
    await house.until(lambda: "waiting" in house.done)

    clock.ahead = timedelta(hours=hours)
    house.go()
    ended = (await house.end(run)).run

    assert ended.state is RunState.FINISHED, ended.failure
    assert ended.started_at is not None
    assert ended.finished_at is not None
    assert ended.finished_at >= ended.started_at
    for record in (await house.records()).values():
        assert record.started_at is not None
        assert record.finished_at is not None
        assert record.finished_at >= record.started_at


async def test_runs_are_listed_as_they_began_whatever_the_clock_says(
    house: House, clock: Clock
) -> None:
    await house.serve()
    await house.apply(stage("first", target="numbers"))
    names = []
    for hours in (0, -3, 2, -1):
        clock.ahead = timedelta(hours=hours)
        run = await house.begin()
        await house.end(run)
        names.append(run.name)

    found = await house.engine.list_runs(RunQuery())

    assert [stored.run.name for stored in found] == names[::-1]


@pytest.mark.parametrize("hours", [-2, 2])
async def test_a_run_is_gone_on_with_whatever_the_clock_was_set_to(
    house: House, clock: Clock, hours: int
) -> None:
    await house.serve()
    await house.apply(
        stage("first", target="numbers"), stage("wait", "first"), stage("last", "wait")
    )
    run = await house.begin()
    await house.until(lambda: "waiting" in house.done)

    clock.ahead = timedelta(hours=hours)
    await house.serve()
    house.go()
    ended = await house.end(run)

    assert ended.run.state is RunState.FINISHED, ended.run.failure
    assert house.done.count("numbers") == 1
