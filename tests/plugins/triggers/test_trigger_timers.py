"""Many calls at certain times, of which one sleep waits for the next."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from flowdapt_testing.clocks import SimulatedClock
from flowdapt_triggers.timers import Timers

pytestmark = pytest.mark.anyio

BEGIN = datetime(2031, 4, 5, tzinfo=UTC)


class Called:
    """Timers, and what they called."""

    def __init__(self) -> None:
        self.clock = SimulatedClock(BEGIN)
        self.timers = Timers[str](self.clock, self._call)
        self.calls: list[tuple[str, float]] = []

    def _call(self, key: str, time: datetime) -> None:
        assert self.clock.now() >= time
        self.calls.append((key, (self.clock.now() - BEGIN).total_seconds()))

    def set(self, key: str, seconds: float) -> None:
        """Have a key called so long after the begin."""
        self.timers.set(key, BEGIN + timedelta(seconds=seconds))


@pytest.fixture
async def called(anyio_backend: str) -> AsyncIterator[Called]:
    called = Called()
    called.timers.start()
    yield called
    await called.timers.stop()


async def test_keys_are_called_in_the_order_of_their_times(called: Called) -> None:
    for key, seconds in (("c", 300.5), ("a", 1), ("b", 2)):
        called.set(key, seconds)

    await called.clock.advance(400)

    assert called.calls == [("a", 1), ("b", 2), ("c", 300.5)]


async def test_an_earlier_time_shortens_the_sleep(called: Called) -> None:
    called.set("late", 100)
    await called.clock.advance(1)

    called.set("soon", 2)
    await called.clock.advance(1)

    assert called.calls == [("soon", 2)]


async def test_a_key_has_the_time_that_was_set_last(called: Called) -> None:
    called.set("a", 5)
    called.set("a", 7)
    called.set("b", 6)
    called.timers.set("b", None)

    await called.clock.advance(100)

    assert called.calls == [("a", 7)]
    assert called.timers.time("a") is None


async def test_times_that_are_set_again_and_again_are_not_piled_up(called: Called) -> None:
    for _ in range(10):
        for second in range(1000):
            called.set("a", 5 + second)
    called.set("a", 7)

    assert len(called.timers._heap) < 200
    await called.clock.advance(2000)

    assert called.calls == [("a", 7)]


async def test_a_time_that_has_passed_is_called_at_once(called: Called) -> None:
    called.set("a", -50)

    await called.clock.advance(0)

    assert called.calls == [("a", 0)]


async def test_a_clock_that_is_set_forward_is_noticed_within_seconds(called: Called) -> None:
    called.set("a", 3600)
    await called.clock.advance(1)

    called.clock.set(BEGIN + timedelta(hours=2))
    await called.clock.advance(10)

    assert [key for key, _ in called.calls] == ["a"]


async def test_a_clock_that_is_set_back_calls_at_the_time_all_the_same(called: Called) -> None:
    called.set("a", 60)
    await called.clock.advance(50)

    called.clock.set(BEGIN - timedelta(hours=1))
    await called.clock.advance(3650)
    assert called.calls == []
    await called.clock.advance(20)

    assert called.calls == [("a", 60)]


async def test_who_has_nothing_due_wakes_seldom(called: Called) -> None:
    called.set("a", 3600)

    await called.clock.advance(3599)

    assert called.clock.sleeps <= 361
