"""Waits until a run has ended, by what the server tells of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from flowdapt.events import RUN_FINISHED, STAGE_CHANGED
from flowdapt.runs import StageRecord
from flowdapt_client.addresses import OfRun, about_run, name_of, run_path
from flowdapt_client.errors import NoServer, Refused
from flowdapt_client.hearing import OPENED, Hearing
from flowdapt_client.reading import read, read_list, read_text
from flowdapt_client.records import Event
from flowdapt_client.run_records import Run
from flowdapt_client.steps import Call, Request

KIND = "workflow_run"

Progress = Callable[[Sequence[StageRecord]], object]


def until_ended(run: OfRun, progress: Progress | None, away: float | None) -> Call[Run]:
    """Return a run once it has ended.

    :param progress: called with the stages that began, whenever one of them went on
    """
    return about_run(run, _until_ended(run, progress, away))


def get(run: OfRun) -> Call[Run]:
    """Return a run with its result."""
    return about_run(run, _get(run))


def stages(run: OfRun) -> Call[list[StageRecord]]:
    """Return how the stages of a run stand."""
    return about_run(run, _stages(run))


def _get(run: OfRun) -> Call[Run]:
    return read(Run, (yield Request("GET", run_path(run), kind=KIND)))


def _stages(run: OfRun) -> Call[list[StageRecord]]:
    return read_list(StageRecord, (yield Request("GET", run_path(run, "stages"), kind=KIND)))


def _until_ended(run: OfRun, progress: Progress | None, away: float | None) -> Call[Run]:
    ended = yield from _told(run, progress, away)
    if progress:
        progress((yield from _stages(run)))
    return ended


def _told(run: OfRun, progress: Progress | None, away: float | None) -> Call[Run]:
    query = {"run": name_of(run), "type": [STAGE_CHANGED, RUN_FINISHED]}
    hearing = Hearing(Request("GET", "/events", query=query), away=away)
    known: dict[str, StageRecord] = {}
    while True:
        message = yield from hearing.message()
        if message is OPENED or message.event == RUN_FINISHED:
            # From here on nothing is missed, and what was before can be looked up.
            try:
                now = yield from _get(run)
                if now.state.final:
                    return now
                known = {record.stage: record for record in (yield from _stages(run))}
            except (NoServer, Refused) as error:
                yield from hearing.lost(error)  # it stopped meanwhile
                continue
        else:
            record = read(StageRecord, read_text(Event, message.data).data)
            known[record.stage] = record
        if progress and known:
            progress([*known.values()])
