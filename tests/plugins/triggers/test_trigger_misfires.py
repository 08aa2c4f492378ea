"""Times that passed while nobody was there."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flowdapt_triggers import misfires
from flowdapt_triggers.misfires import Missed, Times, seen_to

from flowdapt.triggers import TimeRule

pytestmark = pytest.mark.anyio

NOW = datetime(2031, 4, 5, 12, 0, 0, 500_000, tzinfo=UTC)
SECOND = timedelta(seconds=1)


class Every(TimeRule):
    """Times at equal distances."""

    def __init__(self, rule: Any, options: Mapping[str, Any] = {}) -> None:
        del options
        self.step = timedelta(seconds=rule)

    def due(self, after: datetime) -> datetime:
        steps = (after - datetime(2031, 1, 1, tzinfo=UTC)) // self.step
        return datetime(2031, 1, 1, tzinfo=UTC) + (steps + 1) * self.step


async def found(rule: TimeRule, ago: float, policy: Any, window: float | None = None) -> list[Any]:
    """Return what becomes of the times since then: seconds ago to fire for, or how many missed."""
    kept = None if window is None else window * SECOND
    seen: list[Any] = []
    times = Times(rule, NOW - ago * SECOND, NOW, policy=policy, window=kept)
    async for what in seen_to(times, asyncio.Lock()):
        if isinstance(what, Missed):
            seen.append({"count": what.count, "from": _ago(what.first), "to": _ago(what.last)})
        else:
            seen.append(_ago(what))
    return seen


def _ago(time: datetime) -> float:
    return (NOW - time) / SECOND


async def test_what_is_only_late_fires() -> None:
    assert await found(Every(1), 1, "skip") == [0.5]
    assert await found(Every(60), 2, "skip") == [0.5]


async def test_of_several_that_are_late_the_newest_fires() -> None:
    missed = {"count": 2, "from": 2.5, "to": 1.5}

    assert await found(Every(1), 3, "skip") == [missed, 0.5]
    assert await found(Every(1), 3, "once") == [missed, 0.5]


async def test_missed_times_are_counted_and_not_made_up() -> None:
    assert await found(Every(3600), 7300, "skip") == [
        {"count": 2, "from": 7200.5, "to": 3600.5},
        0.5,
    ]
    assert await found(Every(7200), 7300, "skip") == [
        {"count": 1, "from": 7200.5, "to": 7200.5},
        0.5,
    ]


async def test_the_newest_is_made_up_where_one_is_wanted() -> None:
    rule = Every(86400)  # at midnight, twelve hours ago

    assert await found(rule, 3 * 86400, "skip") == [{"count": 3, "from": 216000.5, "to": 43200.5}]
    assert await found(rule, 3 * 86400, "once") == [
        {"count": 2, "from": 216000.5, "to": 129600.5},
        43200.5,
    ]


async def test_all_are_made_up_in_order() -> None:
    assert await found(Every(86400), 3 * 86400, "all") == [216000.5, 129600.5, 43200.5]


@pytest.mark.parametrize("policy", ["once", "all"])
async def test_what_is_longer_ago_than_the_window_is_not_made_up(policy: str) -> None:
    rule = Every(86400)

    assert await found(rule, 2 * 86400, policy, 86400) == [
        {"count": 1, "from": 129600.5, "to": 129600.5},
        43200.5,
    ]
    assert await found(rule, 2 * 86400, policy, 3600) == [
        {"count": 2, "from": 129600.5, "to": 43200.5}
    ]


async def test_very_many_are_not_counted_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(misfires, "MOST_COUNTED", 100)

    assert await found(Every(1), 10 * 86400, "once") == [
        {"count": None, "from": 10 * 86400 - 0.5, "to": 1.5},
        0.5,
    ]


async def test_what_is_in_the_window_is_made_up_however_much_was_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(misfires, "MOST_COUNTED", 100)

    many = await found(Every(1), 10 * 86400, "all", 600)
    few = await found(Every(1), 700, "all", 600)

    assert many == [
        {"count": None, "from": 10 * 86400 - 0.5, "to": pytest.approx(600)},
        *[600.5 - after for after in range(1, 601)],
    ]
    assert few[0] == {"count": 100, "from": 699.5, "to": 600.5}
    assert few[1:] == many[1:]


async def test_none_is_passed_over_uncounted_where_few_are_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(misfires, "MOST_SKIPPED", 10)

    assert await found(Every(1), 30, "skip") == [{"count": 29, "from": 29.5, "to": 1.5}, 0.5]


async def test_many_rules_leave_room_for_everything_else() -> None:
    turn, looks = asyncio.Lock(), 0

    class Counting(Every):
        def due(self, after: datetime) -> datetime:
            nonlocal looks
            looks += 1
            return super().due(after)

    async def catch_up() -> None:
        begin = NOW - 2000 * SECOND
        times = Times(Counting(1), begin, NOW, policy="once", window=None)
        async for _ in seen_to(times, turn):
            pass

    tasks = [asyncio.create_task(catch_up()) for _ in range(100)]
    await asyncio.sleep(0)  # each begins, with one look
    between, before = [], looks
    for _ in range(50):
        await asyncio.sleep(0)
        between.append(looks - before)
        before = looks

    assert max(between) <= misfires.AT_ONCE + 1
    for task in tasks:
        task.cancel()


async def test_where_nothing_was_due_nothing_is_missed() -> None:
    assert await found(Every(86400), 3600, "all") == []
