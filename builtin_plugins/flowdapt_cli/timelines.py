"""Draws when the stages of a run waited and were computed, on one axis of time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby, pairwise
from typing import Any, NamedTuple

from rich.table import Table
from rich.text import Text

from flowdapt_cli.output import harmless
from flowdapt_cli.times import at, duration

WIDEST, NARROWEST = 72, 12  #: columns of the axis
NARROW, ROOMY = 100, 120  #: columns below which names are short, and from which on they are whole
SHORT, LONG = 16, 24  #: characters of names then, and between
END = 6  #: of them, those of the end of a name that is cut

_COLOURS = {
    "finished": "green",
    "failed": "red",
    "cancelled": "yellow",
    "running": "cyan",
    "skipped": "blue",
}
WAITING, LOST, COMPUTED = "┄", "\N{BOX DRAWINGS LIGHT DIAGONAL CROSS}", "━"


class Span(NamedTuple):
    """A part of a stage's time.

    :param mark: what it is drawn with
    """

    begin: float
    end: float
    mark: str
    style: str


def timeline(run: Mapping[str, Any], stages: Sequence[Mapping[str, Any]], *, columns: int) -> Table:
    """Return a bar for each stage: dotted while it waits, whole while it is computed.

    :param columns: how many there are in all
    """
    begin, end = at(run["started_at"]), _end(run)
    seconds = max((end - begin).total_seconds(), 1e-6)
    stages = sorted(stages, key=lambda stage: at(stage["started_at"]))
    names = [short(stage["stage"], columns) for stage in stages]
    took = [duration((_end(stage) - at(stage["started_at"])).total_seconds()) for stage in stages]
    where = [short(one, max(columns, NARROW)) for one in _where(stages)]
    beside = (max(map(len, part), default=0) + 2 for part in (names, took, where))
    width = min(WIDEST, max(NARROWEST, columns - sum(beside)))
    drawn = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    drawn.add_column(Text("timeline"), no_wrap=True, overflow="ellipsis")
    drawn.add_column(_axis(seconds, width), no_wrap=True, width=width)
    drawn.add_column(Text("took"), justify="right", no_wrap=True)
    drawn.add_column(Text("on"), no_wrap=True, overflow="ellipsis")
    for stage, *facts in zip(stages, names, took, where, strict=True):
        name, time, worker = facts
        bar = _bar(_spans(stage, begin), seconds, width)
        drawn.add_row(Text(name), bar, Text(time), Text(worker))
    return drawn


def _spans(stage: Mapping[str, Any], zero: datetime) -> Iterator[Span]:
    """Yield the parts of a stage's time in their order, in seconds from the run's beginning."""
    ready, end = ((t - zero).total_seconds() for t in (at(stage["started_at"]), _end(stage)))
    begins = [(at(one["at"]) - zero).total_seconds() for one in stage.get("history") or ()]
    colour = _COLOURS.get(stage["state"], "")
    if not begins and stage["state"] != "finished" and not stage.get("worker"):
        yield Span(ready, end, WAITING, "dim")  # nobody ever took it
        return
    begins = begins or [ready]  # what computed it did not say
    yield Span(ready, begins[0], WAITING, "dim")
    for begin, lost in pairwise(begins):
        yield Span(begin, lost, LOST, "red")
    yield Span(begins[-1], end, COMPUTED, colour)


def _bar(spans: Iterator[Span], seconds: float, width: int) -> Text:
    """Return the parts as characters; of each that takes time at least one is seen."""
    cells: list[tuple[str, str]] = [(" ", "")] * width
    ends: dict[int, tuple[str, str]] = {}
    for span in spans:
        first = min(width - 1, max(0, int(span.begin / seconds * width)))
        last = min(width, max(first + (span.mark != WAITING), round(span.end / seconds * width)))
        mark = COMPUTED if span.mark == LOST else span.mark
        cells[first:last] = [(mark, span.style)] * (last - first)
        if span.mark == LOST:  # it stands where the attempt ended, and hides what begins there
            ends[last - 1] = (span.mark, span.style)
    for place, cell in ends.items():
        cells[place] = cell
    parts = groupby(cells, key=lambda cell: cell)
    return Text.assemble(*((mark * len(list(same)), style) for (mark, style), same in parts))


def _axis(seconds: float, width: int) -> Text:
    end = duration(seconds)
    return Text("0" + end.rjust(width - 1))


def _where(stages: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return who computed each stage last; with the node, where the name does not say it."""
    nodes = [(stage.get("history") or [{}])[-1].get("node") or "" for stage in stages]
    workers = [stage.get("worker") or "" for stage in stages]
    return [
        f"{worker} on {node}" if node and " on " not in worker and worker else worker
        for worker, node in zip(workers, nodes, strict=True)
    ]


def _end(record: Mapping[str, Any]) -> datetime:
    return at(record["finished_at"]) if record.get("finished_at") else datetime.now(UTC)


def short(name: str, columns: int) -> str:
    """Return a name as there is room for it; its end stays, as names often differ there alone.

    :param columns: how many there are in all
    """
    name, most = harmless(name), SHORT if columns < NARROW else LONG
    cut = columns < ROOMY and len(name) > most
    return f"{name[: most - 1 - END]}…{name[-END:]}" if cut else name
