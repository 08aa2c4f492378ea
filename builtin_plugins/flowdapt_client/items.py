"""Reads what a run yields, while it does."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any
from uuid import UUID

from flowdapt_client import waiting
from flowdapt_client.errors import NoServer, Refused, RunFailed, StageRestarted
from flowdapt_client.hearing import FIRST_SECONDS
from flowdapt_client.records import ItemsEnd, read_text
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

    :ivar count: items that were handed on
    :ivar refused: the server said that it will tell no more
    """

    def __init__(self, run: UUID, restarted: Restarted | None) -> None:
        self.run, self.restarted = run, restarted
        self.count, self.refused = 0, False

    def items(self) -> Generator[Step | Item[Any], Any, bool]:
        """Yield those that a connection brings and that are new; return whether all have come."""
        parser, seen = Parser(), 0
        while (messages := (yield from _heard(parser))) is not None:
            for message in messages:
                if message.event == "item":
                    seen += 1
                    if seen > self.count:
                        self.count = seen
                        yield Item(json.loads(message.data))
                elif message.event == "restart":
                    self._begin_anew()
                    seen = 0
                elif message.event == "end":
                    _end(message)
                    return True
                elif message.event == "error":
                    self.refused = True
        return False

    def rest(self, items: Sequence[Any]) -> Items[Any]:
        """Yield those of a result that are new."""
        if len(items) < self.count:  # of another attempt
            self._begin_anew()
        for item in items[self.count :]:
            yield Item(item)

    def _begin_anew(self) -> None:
        if self.restarted is None:
            raise StageRestarted(str(self.run))
        self.restarted()
        self.count = 0


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
