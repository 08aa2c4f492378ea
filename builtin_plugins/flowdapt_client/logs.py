"""Reads what a run wrote: what there is, or until the run has ended."""

from __future__ import annotations

from typing import Any

from flowdapt_client import waiting
from flowdapt_client.addresses import OfRun, run_path
from flowdapt_client.errors import NoStream
from flowdapt_client.hearing import OVER, Hearing
from flowdapt_client.records import LogBlock, LogLine, LogPage, read, read_text
from flowdapt_client.steps import Call, Item, Items, Pause, Request

KIND = "workflow_run"
BLOCKS = 1000  #: in one answer
PAUSE_SECONDS = 0.5  #: between two looks, where the server cannot tell of what is new


def stored(run: OfRun, after: int = 0) -> Items[LogLine]:
    """Yield the lines that there are.

    :param after: only those behind this position
    """
    while page := (yield from _page(run, after)):
        yield from _lines(page.blocks)
        after = page.next


def followed(run: OfRun, away: float | None) -> Items[LogLine]:
    """Yield the lines until the run has ended."""
    # By position and not by id alone, so that a server without a stream goes on at the same place.
    request = Request("GET", run_path(run, "logs"), query={"after": 0}, kind=KIND)
    hearing = Hearing(request, away=away)
    try:
        while True:
            message = yield from hearing.message()
            if message.event == "log":
                yield from _lines([read_text(LogBlock, message.data)])
            elif message.event == "end" or message is OVER:
                return
    except NoStream:
        yield from _looked_up(run)


def _looked_up(run: OfRun) -> Items[LogLine]:
    after, ended = 0, False
    while not ended:
        ended = (yield from waiting.get(run)).state.final  # before, so that nothing is missed
        while page := (yield from _page(run, after)):
            yield from _lines(page.blocks)
            after = page.next
        if not ended:
            yield Pause(PAUSE_SECONDS)


def _page(run: OfRun, after: int) -> Call[LogPage | None]:
    query = {"after": after, "limit": BLOCKS}
    answer: Any = yield Request("GET", run_path(run, "logs"), query=query, kind=KIND)
    page = read(LogPage, answer)
    return page if page.blocks else None


def _lines(blocks: Any) -> Items[LogLine]:
    for block in blocks:
        for line in block.each():
            yield Item(line)
