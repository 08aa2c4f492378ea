"""What became of the elements of parameterized stages, as replies have it."""

from __future__ import annotations

import heapq
import math
import statistics
from collections.abc import Collection, Iterator, Sequence
from enum import StrEnum
from itertools import islice
from typing import NamedTuple

from flowdapt_workers.tallies import Tally, unpacked

from flowdapt.runs import FailedItem, StageRecord
from flowdapt_rest import run_shapes

DIGITS = 6  #: of seconds that tell something; more of them were not kept


class ItemState(StrEnum):
    """What became of an element."""

    FINISHED = "finished"
    FAILED = "failed"


class ItemOrder(StrEnum):
    """What comes first in a list of elements."""

    INDEX = "index"
    SLOWEST = "slowest"


class Wanted(NamedTuple):
    """Which elements to list.

    :param stage: of this one only
    :param states: any of these; empty means all
    :param after: so many of them are passed over
    """

    stage: str | None
    states: Collection[ItemState]
    order: ItemOrder
    after: int
    limit: int


class _Element(NamedTuple):
    record: StageRecord
    item: int
    seconds: float
    attempts: int
    failed: FailedItem | None


def page(records: Sequence[StageRecord], wanted: Wanted) -> run_shapes.ItemPage:
    """Return a part of the elements of stages that have ended."""
    end = wanted.after + wanted.limit
    elements = _elements(records, wanted)
    if wanted.order is ItemOrder.SLOWEST:  # few of them are kept at once, however many there are
        found = heapq.nlargest(end + 1, elements, key=lambda element: element.seconds)
    else:
        found = list(islice(elements, end + 1))
    traces = {
        (record.stage, failure.item): failure.traceback
        for record in records
        for failure in (*record.failures, record.failure)
        if failure is not None
    }
    items = [_shown(element, traces) for element in found[wanted.after : end]]
    return run_shapes.ItemPage(items=items, next=end if len(found) > end else None)


def summaries(records: Sequence[StageRecord]) -> list[run_shapes.ItemSummary]:
    """Return what the elements of each stage come to; how long they took, once it has ended."""
    return [
        run_shapes.ItemSummary(
            stage=record.stage,
            state=record.state,
            # Of a stage that failed, it may not have been told how far it was.
            count=max(record.items or 0, done := max(record.items_done, len(tally))),
            done=done,
            failed=max(record.items_failed, len(_failures(record))),
            seconds=_spread(sorted(tally.known_seconds)),
        )
        for record in records
        if (tally := _tally(record)) or record.items is not None
    ]


def _elements(records: Sequence[StageRecord], wanted: Wanted) -> Iterator[_Element]:
    for record in records:
        if wanted.stage not in (None, record.stage):
            continue
        failures = _failures(record)
        for item, seconds, attempts in _tally(record):
            failed = failures.get(item)
            state = ItemState.FINISHED if failed is None else ItemState.FAILED
            if not wanted.states or state in wanted.states:
                yield _Element(record, item, seconds, attempts, failed)


def _tally(record: StageRecord) -> Tally:
    """Return what is known of elements; of an earlier release, only those that failed are."""
    tally = unpacked(record.elements)
    if record.elements is None:
        for failed in _failures(record).values():
            tally.note([failed.item], attempts=failed.attempts)
    return tally


def _failures(record: StageRecord) -> dict[int, FailedItem]:
    """Return what failed by index: what was left out, or the element that its stage failed with."""
    failures = {failed.item: failed for failed in record.failed_items}
    if (whole := record.failure) is not None and whole.item is not None:
        failures[whole.item] = FailedItem(whole.item, whole.type, whole.message)
    return failures


def _shown(element: _Element, traces: dict[tuple[str, int | None], str]) -> run_shapes.Item:
    record, item, seconds, attempts, failed = element
    shown = run_shapes.Item(
        stage=record.stage,
        item=item,
        state=ItemState.FINISHED if failed is None else ItemState.FAILED,
        attempts=attempts,
        seconds=_rounded(seconds) if seconds >= 0 else None,
    )
    if failed is not None:
        shown |= {
            "type": failed.type,
            "message": failed.message,
            "traceback": traces.get((record.stage, item), ""),
        }
    return shown


def _spread(seconds: Sequence[float]) -> run_shapes.ItemSeconds | None:
    """Return how long elements took; nothing where that is not known.

    :param seconds: of each, the least first
    """
    if not seconds:
        return None
    return run_shapes.ItemSeconds(
        least=_rounded(seconds[0]),
        median=_rounded(statistics.median(seconds)),
        p95=_rounded(seconds[math.ceil(0.95 * len(seconds)) - 1]),
        most=_rounded(seconds[-1]),
    )


def _rounded(seconds: float) -> float:
    return float(f"{seconds:.{DIGITS}g}")
