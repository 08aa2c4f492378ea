"""Runs of one workflow for many periods: so many at once, and only those that are not there."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from flowdapt.runs import RunState
from flowdapt_cli.errors import CommandError
from flowdapt_cli.output import note
from flowdapt_cli.render import console
from flowdapt_cli.times import is_relative, moment

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from flowdapt.client import Backfilled, Client

MONDAY = datetime(1970, 1, 5, tzinfo=UTC)  #: from which whole periods are counted
MOST = 100_000  #: periods of one command
LOOK_SECONDS = 0.2  #: between two looks at what is in progress
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}

Period = tuple[datetime, datetime]


def periods(begin: str, end: str, every: str) -> list[Period]:
    """Return the periods between two times, the last one perhaps shorter.

    :raises CommandError: a time or the length cannot be understood, or there would be none
    """
    step = _length(every)
    first, last = _edge(begin, step), _edge(end, step)
    if last <= first:
        raise CommandError(f"--to {end} is not after --from {begin}")
    if (last - first) / step > MOST:
        raise CommandError(f"that would be more than {MOST:,} periods; take longer ones")
    found = []
    while first < last:
        following = first + step if last - first > step else last
        found.append((first, following))
        first = following
    return found


def _edge(text: str, step: timedelta) -> datetime:
    """Return where a period begins or ends.

    A time that is so long ago is rounded down to whole periods, or it would be another one with
    each command, and no period would ever be the one that has a run.
    """
    time = moment(text)
    return time - (time - MONDAY) % step if is_relative(text) else time


def _length(text: str) -> timedelta:
    parts = re.findall(r"(\d+)([smhdw])", text)
    try:
        length = timedelta(seconds=sum(int(number) * UNITS[unit] for number, unit in parts))
    except OverflowError:
        length = timedelta(0)
    if not length or "".join(map("".join, parts)) != text:
        raise CommandError(f"{text!r} is no length of a period; write 30m, 1h30m, 1d or 1w")
    return length


class Backfill:
    """Has periods run, and shows how far that is.

    :param at_once: runs in progress, at most
    """

    def __init__(self, client: Client, workflow: str, *, at_once: int) -> None:
        self._client, self._workflow, self._at_once = client, workflow, at_once
        self._running: dict[UUID, dict[str, Any]] = {}
        self._counts = dict.fromkeys(("finished", "failed", "cancelled", "were there"), 0)

    def run(self, wanted: Sequence[Period]) -> list[dict[str, Any]]:
        """Run all that have no run yet; return how each ended."""
        done: list[dict[str, Any]] = []
        for start, end in wanted:
            while len(self._running) >= self._at_once:
                self._look(len(wanted))
            begun = self._client.triggers.run_period(self._workflow, start, end)
            facts = {"start": start.isoformat(), "end": end.isoformat(), "run": str(begun.run)}
            done.append(facts)
            self._begin(begun, facts, len(wanted))
        while self._running:
            self._look(len(wanted))
        told = ", ".join(f"{count} {what}" for what, count in self._counts.items() if count)
        note(f"{len(wanted)} period{'s' * (len(wanted) != 1)}: {told}")
        return done

    def _begin(self, begun: Backfilled, facts: dict[str, Any], total: int) -> None:
        facts["state"] = str(begun.state)
        if not begun.state.final:
            self._running[begun.run] = facts
        elif not begun.new and begun.state is RunState.FINISHED:
            self._counts["were there"] += 1
        else:  # one of an earlier command that failed is told as well
            self._end(begun.state, facts, total)

    def _look(self, total: int) -> None:
        time.sleep(LOOK_SECONDS)
        for uid, facts in list(self._running.items()):
            state = self._client.runs.get(uid).state
            if state.final:
                del self._running[uid]
                self._end(state, facts, total)

    def _end(self, state: RunState, facts: dict[str, Any], total: int) -> None:
        facts["state"] = str(state)
        self._counts[str(state)] += 1
        ended = sum(self._counts.values())
        shown = console(stderr=True)
        shown.print(f"{ended}/{total}  {facts['start']}  {state}", highlight=False)
