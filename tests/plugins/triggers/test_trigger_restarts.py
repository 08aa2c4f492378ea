"""What a server that starts knows of before: nothing is done twice, and little is forgotten."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from flowdapt_testing.clocks import settled
from flowdapt_testing.desks import until
from flowdapt_triggers import files, history
from flowdapt_triggers.notes import LAST_DUE
from flowdapt_triggers.resource import TriggerRule

from flowdapt.resources import now
from flowdapt.triggers import Occasion

from .conftest import BEGIN, Yard
from .doings import GREW, PRINT, tell

pytestmark = pytest.mark.anyio

HOUR = timedelta(hours=1)
BOTH = {"all": [{"eq": [{"var": "type"}, "sown"]}, {"eq": [{"var": "type"}, "grown"]}]}


async def fired(yard: Yard) -> int:
    return len(await yard.told("fired"))


# Events --------------------------------------------------------------------------------------


async def test_what_was_quiet_once_does_not_fire_after_a_restart(yard: Yard) -> None:
    await yard.apply(rule=GREW, debounce="30s", action=PRINT)
    for number in range(5):
        await tell(yard, n=number)
    await yard.clock.advance(31)

    for _ in range(2):
        await yard.restart()
        await yard.clock.advance(31)

    assert await fired(yard) == 1


async def test_what_was_not_quiet_yet_fires_after_a_restart(yard: Yard) -> None:
    await yard.apply(rule=GREW, debounce="30s", action=PRINT)
    await tell(yard)

    await yard.restart()
    await yard.clock.advance(31)

    assert await fired(yard) == 1


async def test_what_is_told_again_ends_no_wait_for_what_came_later(yard: Yard) -> None:
    made = await yard.apply(rule=GREW, debounce="30s", action=PRINT)
    first, later = (Occasion(key, now() + after) for key, after in (("a", HOUR * 0), ("b", HOUR)))
    live = yard.service.lives[made.metadata.uid]
    live.past.add(first.key, first.time)

    yard.service._take(live, later)
    yard.service._take(live, first)
    await yard.clock.advance(31)

    assert [one["key"] for one in await yard.told("fired")] == ["b"]


async def test_a_join_uses_no_event_again_after_a_restart(yard: Yard) -> None:
    await yard.apply(rule=BOTH, options={"within": "1h"}, action=PRINT)
    await tell(yard, "sown")
    await tell(yard, "grown")

    await yard.restart()
    await tell(yard, "grown")
    assert await fired(yard) == 1
    await tell(yard, "sown")

    assert await fired(yard) == 2


async def test_a_join_knows_after_a_restart_what_it_waited_for(yard: Yard) -> None:
    await yard.apply(rule=BOTH, options={"within": "1h"}, action=PRINT)
    await tell(yard, "sown")

    await yard.restart()
    await tell(yard, "grown")

    assert await fired(yard) == 1


async def test_events_of_more_than_an_hour_before_the_last_are_not_looked_at(idle: Yard) -> None:
    idle.clock.set(now())
    await idle.begin()
    await idle.apply(rule=GREW, action=PRINT)
    await idle.kill()
    idle.clock.set(now() + 10 * HOUR)
    later = now() + 5 * HOUR
    for ago in (2 * HOUR, HOUR / 2):
        await tell(idle, facts={"time": later - ago})
    await tell(idle, "last", facts={"time": later})

    await idle.begin()

    assert await fired(idle) == 1


async def test_an_event_that_is_told_late_hides_none_before_it(idle: Yard) -> None:
    await idle.apply(rule=GREW, action=PRINT)
    await tell(idle)
    await tell(idle, "other", facts={"time": now() - 3 * HOUR})
    await tell(idle, "last")

    await idle.begin()

    assert await fired(idle) == 1


async def test_no_more_of_the_newest_events_are_returned_than_are_wanted(yard: Yard) -> None:
    for number in range(5):
        await tell(yard, n=number)

    found = await history.newest(yard.engine.storage, ["tests"], limit=2)

    assert [one["data"]["n"] for one in found] == [3, 4]


# Times ---------------------------------------------------------------------------------------


async def test_a_clock_that_was_far_ahead_silences_no_trigger_for_good(yard: Yard) -> None:
    spec: dict[str, Any] = {"type": "interval", "rule": "10s", "action": PRINT}
    await yard.apply(**spec)
    yard.clock.set(datetime(2030, 1, 1, tzinfo=UTC))
    await yard.clock.advance(20)
    yard.clock.set(BEGIN + HOUR)
    before = await fired(yard)

    await yard.restart()
    await yard.clock.advance(20)
    assert await fired(yard) == before + 2
    await yard.apply(**spec, misfire="once")
    await yard.clock.advance(20)

    assert await fired(yard) == before + 4


async def test_a_change_is_not_noted_over(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    await yard.apply(type="interval", rule="10s", action=PRINT)
    await yard.clock.advance(11)
    begun, may = asyncio.Event(), asyncio.Event()
    replace = yard.engine.storage.replace

    async def slow(*arguments: Any, **options: Any) -> None:
        begun.set()
        await may.wait()
        await replace(*arguments, **options)

    monkeypatch.setattr(yard.engine.storage, "replace", slow)
    await yard.clock.advance(5)
    changing = asyncio.create_task(
        yard.apply(type="interval", rule="10s", action=PRINT, paused=True)
    )
    await begun.wait()
    noting = asyncio.create_task(yard.service.notes.write())
    await settled()
    may.set()
    changed, _ = await asyncio.gather(changing, noting)

    assert (await yard.engine.get(TriggerRule, "t")) == changed


async def test_what_could_not_be_noted_is_noted_later(
    yard: Yard, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await yard.apply(type="interval", rule="10s", action=PRINT)
    await yard.clock.advance(11)

    async def full(*_: object, **__: object) -> None:
        raise OSError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(yard.engine.storage, "replace", full)
        await yard.service.notes.write()
    await yard.service.notes.write()

    assert "trigger 't' is noted later: the disk is full" in caplog.text
    assert LAST_DUE in (await yard.engine.get(TriggerRule, "t")).metadata.annotations


# Files ---------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder where files arrive."""
    folder = tmp_path / "in"
    folder.mkdir()
    return folder


def arrive(folder: Path, first: int, count: int) -> None:
    for number in range(first, first + count):
        (folder / f"f{number}.csv").touch()


async def test_however_many_files_arrive_each_is_told_once(
    yard: Yard, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for limit in ("lanes.MOST_WAITING", "history.KEYS_KEPT", "history.READ_BACK", "history._PAGE"):
        monkeypatch.setattr(f"flowdapt_triggers.{limit}", 3)
    yard.clock.set(now())
    arrive(folder, 0, 10)
    options = {"settle": 0, "poll": 0.05, "existing": True}
    await yard.apply(type="file", rule=str(folder), options=options, action=PRINT)
    uid = next(iter(yard.service.lives))
    await until(lambda: yard.service.lives[uid].tally.fired == 10)
    yard.clock.set(now())

    await yard.service.stop()
    await yard.restart()
    arrive(folder, 10, 10)
    await until(lambda: yard.service.lives[uid].tally.fired >= 10)
    await settled()

    names = [one["key"].partition("@")[0] for one in await yard.told("fired")]
    assert len(names) == len(set(names)) == 20
    assert await yard.told("missed") == []


async def test_a_folder_that_is_not_there_is_told(yard: Yard, tmp_path: Path) -> None:
    made = await yard.apply(type="file", rule=str(tmp_path / "none"), action=PRINT)
    rule = yard.service.lives[made.metadata.uid].rule

    assert isinstance(rule, files.FileArrivals)
    await until(lambda: bool(rule.trouble))

    assert rule.trouble.endswith("none is not there, and is waited for")


async def test_what_could_not_be_watched_is_no_problem_any_more_once_it_can(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched: list[int] = []

    async def watch(*_: object, **__: object) -> None:
        watched.append(len(watched))
        if len(watched) == 1:
            raise OSError("the share is away")
        await asyncio.Event().wait()

    monkeypatch.setattr(files.FileArrivals, "watch", watch)
    made = await yard.apply(type="file", rule="in", action=PRINT)
    assert "the share is away" in yard.service.lives[made.metadata.uid].error

    await yard.clock.advance(10)

    assert watched == [0, 1]
    assert yard.service.lives[made.metadata.uid].error == ""
