"""Reads what a run yields, while it does."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterator, Sequence
from functools import reduce
from typing import Any
from uuid import UUID

from flowdapt_client import waiting
from flowdapt_client.errors import NoServer, Refused, RunFailed, StageRestarted
from flowdapt_client.hearing import FIRST_SECONDS
from flowdapt_client.reading import read_text
from flowdapt_client.run_records import ItemsEnd
from flowdapt_client.sse import Message, Parser
from flowdapt_client.steps import Call, Hear, Item, Items, Listen, Pause, Request, Step

RUN_HEADER = "X-Run-UID"

Begun = Callable[[UUID], object]
Restarted = Callable[[], object]


def streamed(
    request: Request, begun: Begun | None, restarted: Restarted | None, away: float | None
) -> Items[Any]:
    """Yield the items of a run that a request starts, until it has ended.

    Where the connection is lost, a request with a key is made anew. Else, or where the server gives
    up before the end, the rest comes from the run's result, once that is there.
    """
    run = yield from _connected(request)
    if begun:
        begun(run)
    reading = Reading(run, restarted)
    while True:
        before = reading.count
        if (yield from reading.items()):
            return
        if reading.refused or reading.count == before or not request.headers:
            break
        yield Pause(FIRST_SECONDS)
        try:
            yield from _connected(request)
        except (NoServer, Refused):
            break
    yield from reading.rest((yield from _result(run, away)))


def _connected(request: Request) -> Call[UUID]:
    return UUID((yield Listen(request))[RUN_HEADER])


class Reading:
    """What was read of a run so far, whatever connections it came over.

    Each connection, and the result, begins with the first item. Those that were handed on are not
    again, unless they are others now, of another attempt: then all of them are.

    :ivar count: items that were handed on
    :ivar refused: the server said that it will tell no more
    """

    def __init__(self, run: UUID, restarted: Restarted | None) -> None:
        self.run, self.restarted = run, restarted
        self.count, self.refused = 0, False
        self._mark = 0  # of the items that were handed on
        self._again: list[Any] = []  # what came again, until it is known to be the same

    def items(self) -> Generator[Step | Item[Any], Any, bool]:
        """Yield those that a connection brings and that are new; return whether all have come."""
        parser, self._again = Parser(), []
        seen = 0
        while (messages := (yield from _heard(parser))) is not None:
            for message in messages:
                if message.event == "item":
                    seen += 1
                    yield from self._taken(json.loads(message.data), seen)
                elif message.event == "restart":
                    self._begin_anew()
                    seen = 0
                elif message.event == "end":
                    _end(message)
                    yield from self._complete(seen)
                    return True
                elif message.event == "error":
                    self.refused = True
        return False

    def rest(self, items: Sequence[Any]) -> Items[Any]:
        """Yield those of a result that are new."""
        self._again = []
        for seen, item in enumerate(items, 1):
            yield from self._taken(item, seen)
        yield from self._complete(len(items))

    def _taken(self, item: Any, seen: int) -> Iterator[Item[Any]]:
        """Yield an item if it is new.

        :param seen: how many there are with it
        """
        if seen > self.count:
            self.count, self._mark = seen, _mark(self._mark, item)
            yield Item(item)
            return
        self._again.append(item)
        if seen == self.count:
            yield from self._compared()

    def _complete(self, seen: int) -> Iterator[Item[Any]]:
        """Yield what came again where that is all, and less than before."""
        if seen < self.count:
            yield from self._compared()

    def _compared(self) -> Iterator[Item[Any]]:
        """Yield what came again where it is not what was handed on."""
        again, self._again = self._again, []
        if reduce(_mark, again, 0) != self._mark:
            self._begin_anew()
            for seen, item in enumerate(again, 1):
                yield from self._taken(item, seen)

    def _begin_anew(self) -> None:
        if self.count:
            if self.restarted is None:
                raise StageRestarted(str(self.run))
            self.restarted()
        self.count = self._mark = 0
        self._again = []


def _mark(before: int, item: Any) -> int:
    """Return what tells one row of items from others, of that without the last one."""
    return hash((before, json.dumps(item)))


def _heard(parser: Parser) -> Call[Iterator[Message] | None]:
    """Return the next messages; nothing where no more will come."""
    try:
        chunk = yield Hear()
    except NoServer:
        return None
    return None if chunk is None else parser.feed(chunk)


def _end(message: Message) -> None:
    """Say how a run ended that has no result.

    :raises RunFailed: it has none
    """
    end = read_text(ItemsEnd, message.data)
    if (why := end.error) is not None:
        raise RunFailed(end.name, end.state, why.type, why.message, "")


def _result(run: UUID, away: float | None) -> Call[list[Any]]:
    value = (yield from waiting.until_ended(run, None, away)).value()
    return value if isinstance(value, list) else [value]
