"""What workers tell the gateway while they compute: that they began, and what stages write.

A worker posts to the actor of the server, and the gateway asks the actor for what has come. Ray
lets a small message overtake a large one, so those of an order are numbered. The answer to an order
comes by another way, and says how many messages came before it.
"""

from __future__ import annotations

import asyncio
import logging
import pickle
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from flowdapt_workers.asking import Asked
from flowdapt_workers.calls import Order
from flowdapt_workers.clusters import Told

logger = logging.getLogger(__name__)

POLL_SECONDS = 60.0  #: how long one question to the actor stays open
LATE_SECONDS = 2.0  #: how long an answer waits for messages that were posted before it
AGAIN_SECONDS = 0.5  #: pause after the actor did not answer


@dataclass
class _Expected:
    """An order that is computed.

    :param lane: in which it is
    :param came: how many messages there were of it, in order
    :param early: others, by their place in the order
    """

    order: Order
    lane: int = 0
    came: int = 0
    early: dict[int, tuple[Any, ...]] = field(default_factory=dict)
    more: asyncio.Event = field(default_factory=asyncio.Event)
    worker: tuple[int, str] | None = None
    asked: bool = False


class Inbox:
    """Messages of the workers.

    :param told: is told of them
    :param worker_name: makes words of a process id and the id of a node
    """

    def __init__(self, told: Told, worker_name: Callable[[int, str], str]) -> None:
        self._told, self._worker_name = told, worker_name
        self._expected: dict[int, _Expected] = {}
        self._asking: Counter[int] = Counter()  # how many in each lane have asked

    async def listen(self, actor: Any) -> None:
        """Take messages as they come, for ever."""
        while True:
            try:
                for message in await actor.take.remote(POLL_SECONDS):
                    self._receive(*pickle.loads(message))  # noqa: S301 - from our own workers
            except Exception as error:  # it is started anew where its process died
                logger.warning("messages of workers do not come: %r", error)
                await asyncio.sleep(AGAIN_SECONDS)

    def _receive(self, kind: str, number: int, place: int, *rest: Any) -> None:
        """Take a message, once all are there that were posted before it."""
        expected = self._expected.get(number)
        if expected is None:  # its order has ended
            getattr(self, f"_on_{kind}")(number, *rest)
            return
        expected.early[place] = (kind, *rest)
        while (message := expected.early.pop(expected.came, None)) is not None:
            expected.came += 1
            getattr(self, f"_on_{message[0]}")(number, *message[1:])
        expected.more.set()

    def _on_log(self, number: int, run: str, stage: str, lines: bytes, count: int) -> None:
        del number
        self._told.log(run, stage, lines, count)

    def _on_items(self, number: int, first: int, texts: list[bytes]) -> None:
        if (expected := self._expected.get(number)) is not None:  # else it is another attempt's
            self._told.items(expected.order, first, texts)

    def _on_started(self, number: int, pid: int, node: str) -> None:
        if (expected := self._expected.get(number)) is not None:
            expected.worker = pid, node
            self._told.started(expected.order, self._worker_name(pid, node))

    def _on_entered(self, number: int) -> None:
        if (expected := self._expected.get(number)) is not None:
            self._told.entered(expected.order)

    def _on_ask(self, number: int, question: int, asked: Asked | None) -> None:
        if (expected := self._expected.get(number)) is not None:
            self._asking[expected.lane] += not expected.asked
            expected.asked = True
            self._told.ask(expected.order, question, asked)

    def has_asked(self, number: int) -> bool:
        """Tell whether the code of an order asked something, that is not forgotten yet."""
        expected = self._expected.get(number)
        return expected is not None and expected.asked

    def free_lane(self, count: int) -> int:
        """Return the first of so many lanes with no order that may wait for what it asked."""
        return next((lane for lane in range(count) if not self._asking[lane]), count - 1)

    def expect(self, order: Order, lane: int = 0) -> None:
        """Count messages of an order from now on."""
        self._expected[order.number] = _Expected(order, lane)

    def worker(self, order: Order) -> str:
        """Return what computes an order, if it said so."""
        expected = self._expected.get(order.number)
        if expected is None or expected.worker is None:
            return ""
        return self._worker_name(*expected.worker)

    def forget(self, order: Order) -> None:
        """Wait for no message that may be lost, and take those behind it."""
        expected = self._expected.pop(order.number, None)
        if expected is None:
            return
        self._asking[expected.lane] -= expected.asked
        for _, (kind, *rest) in sorted(expected.early.items()):
            getattr(self, f"_on_{kind}")(order.number, *rest)

    async def complete(self, order: Order, count: int) -> None:
        """Wait until so many messages of an order have come."""
        expected = self._expected[order.number]
        try:
            async with asyncio.timeout(LATE_SECONDS):
                while expected.came < count:
                    expected.more.clear()
                    await expected.more.wait()
        except TimeoutError:
            logger.warning("output of stage %r comes late, or never", order.task.stage)
