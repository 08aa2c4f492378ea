"""Reads what a run yields, while it does."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

from flowdapt_client import waiting
from flowdapt_client.errors import NoServer, RunFailed, StageRestarted
from flowdapt_client.records import ItemsEnd, read_text
from flowdapt_client.sse import Message, Parser
from flowdapt_client.steps import Call, Hear, Item, Items, Listen, Request

RUN_HEADER = "X-Run-UID"

Begun = Callable[[UUID], object]
Restarted = Callable[[], object]


def streamed(
    request: Request, begun: Begun | None, restarted: Restarted | None, away: float | None
) -> Items[Any]:
    """Yield the items of a run that a request starts, until it has ended.

    Where the server gives up before that, or the connection is lost, the rest comes from the run's
    result, once that is there.
    """
    run = UUID((yield Listen(request))[RUN_HEADER])
    if begun:
        begun(run)
    count = 0
    parser = Parser()
    while (messages := (yield from _heard(parser))) is not None:
        for message in messages:
            if message.event == "item":
                count += 1
                yield Item(json.loads(message.data))
            elif message.event == "restart":
                count = _begin_anew(run, restarted)
            elif message.event == "end":
                return _end(message)
    items = yield from _result(run, away)
    if len(items) < count:  # of another attempt
        count = _begin_anew(run, restarted)
    for item in items[count:]:
        yield Item(item)
    return None


def _heard(parser: Parser) -> Call[Iterator[Message] | None]:
    """Return the next messages; nothing where no more will come."""
    try:
        chunk = yield Hear()
    except NoServer:
        return None
    return None if chunk is None else parser.feed(chunk)


def _begin_anew(run: UUID, restarted: Restarted | None) -> int:
    if restarted is None:
        raise StageRestarted(str(run))
    restarted()
    return 0


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
