"""Messages of workers, in whichever order Ray brings them."""

from __future__ import annotations

import asyncio
import pickle
from dataclasses import replace
from typing import Any
from unittest.mock import Mock

import pytest
from flowdapt_ray.inboxes import Inbox
from flowdapt_workers.calls import Order, Task

pytestmark = pytest.mark.anyio

ORDER = Order(7, 7, Task("run", "a", "f", "f", "t", {}))


class Brings:
    """An actor from which messages come in a certain order, and who is told of them."""

    def __init__(self, *places: int) -> None:
        self.lines: list[bytes] = []
        messages = [("log", 7, place, "run", "a", b"%d" % place, 1) for place in places]
        self._messages = [pickle.dumps(message) for message in messages]
        self.take = self

    def log(self, run: str, stage: str, lines: bytes, count: int) -> None:
        del run, stage, count
        self.lines.append(lines)

    async def remote(self, seconds: float) -> list[bytes]:
        del seconds
        if not self._messages:
            await asyncio.Event().wait()
        return [self._messages.pop(0)]


async def brought(count: int, *places: int) -> list[bytes]:
    """Return the lines as they were told once an order's messages have come."""
    told: Any = Brings(*places)
    inbox = Inbox(told, lambda pid, node: f"{pid} on {node}")
    inbox.expect(ORDER)
    listening = asyncio.create_task(inbox.listen(told))
    await inbox.complete(ORDER, count)
    inbox.forget(ORDER)
    listening.cancel()
    return list(told.lines)


async def test_messages_are_told_in_the_order_in_which_they_were_posted(
    anyio_backend: str,
) -> None:
    assert await brought(5, 2, 0, 4, 1, 3) == [b"0", b"1", b"2", b"3", b"4"]


async def test_those_behind_one_that_is_lost_are_told_all_the_same(
    anyio_backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowdapt_ray.inboxes.LATE_SECONDS", 0.1)

    assert await brought(4, 3, 0, 2) == [b"0", b"2", b"3"]


async def test_items_of_an_order_that_has_ended_are_nobodys(anyio_backend: str) -> None:
    told: Any = Mock()
    inbox = Inbox(told, lambda pid, node: f"{pid} on {node}")
    inbox.expect(ORDER)
    inbox._receive("items", 7, 0, 0, [b"1", b"2"])
    inbox.forget(ORDER)

    inbox._receive("items", 7, 1, 2, [b"3"])

    told.items.assert_called_once_with(ORDER, 0, [b"1", b"2"])


async def test_a_lane_is_free_while_no_order_in_it_has_asked(anyio_backend: str) -> None:
    inbox = Inbox(Mock(), lambda pid, node: f"{pid} on {node}")
    later = replace(ORDER, number=8)
    inbox.expect(ORDER, inbox.free_lane(2))
    assert inbox.free_lane(2) == 0

    inbox._receive("ask", 7, 0, 1, Mock())
    inbox._receive("ask", 7, 1, 2, Mock())
    assert inbox.free_lane(2) == 1
    inbox.expect(later, 1)
    inbox._receive("ask", 8, 0, 1, Mock())
    assert inbox.free_lane(2) == 1  # the last one, where none is free

    inbox.forget(ORDER)
    assert inbox.free_lane(2) == 0
    inbox.forget(later)
    assert inbox.free_lane(2) == 0
