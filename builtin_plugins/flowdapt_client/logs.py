"""Reads what a run wrote: what there is, or until the run has ended."""

from __future__ import annotations

from typing import Any

from flowdapt_client.addresses import OfRun, run_path
from flowdapt_client.hearing import Hearing
from flowdapt_client.reading import read, read_text
from flowdapt_client.run_records import LogBlock, LogLine, LogPage
from flowdapt_client.steps import Call, Item, Items, Request

KIND = "workflow_run"
BLOCKS = 1000  #: in one answer


def stored(run: OfRun, after: int = 0) -> Items[LogLine]:
    """Yield the lines that there are.

    :param after: only those behind this position
    """
    while page := (yield from _page(run, after)):
        yield from _lines(page.blocks)
        after = page.next


def followed(run: OfRun, away: float | None) -> Items[LogLine]:
    """Yield the lines until the run has ended."""
    hearing = Hearing(Request("GET", run_path(run, "logs"), kind=KIND), away=away)
    while (message := (yield from hearing.message())).event != "end":
        if message.event == "log":
            yield from _lines([read_text(LogBlock, message.data)])


def _page(run: OfRun, after: int) -> Call[LogPage | None]:
    query = {"after": after, "limit": BLOCKS}
    answer: Any = yield Request("GET", run_path(run, "logs"), query=query, kind=KIND)
    page = read(LogPage, answer)
    return page if page.blocks else None


def _lines(blocks: Any) -> Items[LogLine]:
    for block in blocks:
        for line in block.each():
            yield Item(line)
