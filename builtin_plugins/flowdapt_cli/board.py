"""The runs of a server as they are now, for ``top``."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from flowdapt.errors import ResourceNotFound
from flowdapt.events import RUN_FINISHED, RUN_STARTED, STAGE_CHANGED
from flowdapt_cli.happenings import items
from flowdapt_cli.output import plain
from flowdapt_cli.render import console, drawn_table
from flowdapt_cli.times import age, at, duration, took

if TYPE_CHECKING:
    from flowdapt.client import Client, Event

REFRESHES = 4  #: a second, so that times go on between events
TYPES = (RUN_STARTED, RUN_FINISHED, STAGE_CHANGED)
OPEN = ("running", "pending")  #: states of runs that go on
MOST_OPEN = 1000  #: such runs that are looked up; it is told of the others when they begin
AROUND = 4  #: lines of the screen that no run stands in: the head, those of the table, the last


class Board:
    """The runs that go on, with the stages that are being computed, and the last that ended.

    :param limit: at most so many are shown
    """

    def __init__(self, client: Client, workflow: str | None, limit: int) -> None:
        self.client, self.workflow, self.limit = client, workflow, limit
        self._runs: dict[str, dict[str, Any]] = {}
        self._stages: dict[str, dict[str, dict[str, Any]]] = {}  # of open runs
        self._lost_at: float | None = None
        self._lock = Lock()  # it is drawn in a thread of its own

    def load(self) -> None:
        """Read from the server what there is."""
        listed = self.client.runs.list
        open_ = [plain(run) for run in listed(self.workflow, state=OPEN, limit=MOST_OPEN)]
        last = [plain(run) for run in listed(self.workflow, limit=self.limit)]
        runs = {run["uid"]: run for run in (*open_, *last)}  # what was read later is newer
        stages: dict[str, dict[str, dict[str, Any]]] = {}
        for run in sorted(runs.values(), key=_rank)[: self.limit]:
            if run["state"] in OPEN:
                with suppress(ResourceNotFound):  # it was deleted meanwhile
                    found = self.client.runs.stages(run["uid"])
                    stages[run["uid"]] = {one.stage: plain(one) for one in found}
        with self._lock:
            self._runs, self._stages, self._lost_at = runs, stages, None

    def lose(self) -> None:
        """Learn that the server is away."""
        self._lost_at = self._lost_at or monotonic()

    def take(self, event: Event) -> None:
        """Learn what happened."""
        with self._lock:
            if event.type == STAGE_CHANGED:
                self._stages.setdefault(event.data["run"], {})[event.data["stage"]] = event.data
                return
            self._runs[event.data["uid"]] = event.data
            if event.type == RUN_FINISHED:
                self._stages.pop(event.data["uid"], None)
            for old in self._ranked()[self.limit :]:
                if old["state"] not in OPEN:
                    del self._runs[old["uid"]]

    def data(self) -> list[dict[str, Any]]:
        """Return the runs that are shown: those that go on first, each with its ``stages``."""
        with self._lock:
            return [
                {**run, "stages": [*self._stages.get(run["uid"], {}).values()]}
                for run in self._ranked()[: self.limit]
            ]

    def rows(self) -> list[dict[str, Any]]:
        """Return the runs that are shown as rows of a table."""
        return [_row(run) for run in self.data()]

    def draw(self, lines: int) -> RenderableType:
        """Return what is seen of them.

        :param lines: how many there is room for
        """
        rows = self.rows()[: max(1, lines - AROUND)]
        with self._lock:
            states = [run["state"] in OPEN for run in self._ranked()]
        more, going = len(states) - len(rows), sum(states)
        words = _away(self._lost_at) if self._lost_at else f"{going} in progress"
        head = _line(f"{self.client.address}  {words}").append("   Ctrl-C ends", style="dim")
        last = f"... and {more} more, {sum(states[len(rows) :])} in progress" if more else ""
        return Group(head, Text(), drawn_table(rows, folded=False), _line(last))

    def _ranked(self) -> list[dict[str, Any]]:
        return sorted(self._runs.values(), key=_rank)


def watch(board: Board) -> None:
    """Draw the runs as they go on, until the program is interrupted."""
    board.load()
    out = console()
    with Live(
        get_renderable=lambda: board.draw(out.height),
        console=out,
        refresh_per_second=REFRESHES,
        screen=True,
    ):
        events = board.client.events.follow(
            workflow=board.workflow, types=TYPES, opened=board.load, lost=board.lose, away=None
        )
        for event in events:
            board.take(event)


def _rank(run: dict[str, Any]) -> tuple[int, float]:
    """Return what comes first: what has gone on for longest, and behind it what began last."""
    began = at(run["started_at"]).timestamp()
    return (OPEN.index(run["state"]), began) if run["state"] in OPEN else (len(OPEN), -began)


def _line(text: str) -> Text:
    return Text(text, no_wrap=True, overflow="ellipsis")


def _away(since: float) -> str:
    return f"is away; runs are as they were {duration(monotonic() - since)} ago"


def _row(run: dict[str, Any]) -> dict[str, Any]:
    passed = (datetime.now(UTC) - at(run["started_at"])).total_seconds()
    return {
        "run": run["name"],
        "workflow": run["workflow"],
        "state": run["state"],
        "stage": _stage(run),
        "started": age(run["started_at"]),
        "took": took(run) or duration(max(0.0, passed)),
    }


def _stage(run: dict[str, Any]) -> str:
    """Return where a run is, or where it failed."""
    if run["state"] in OPEN:
        going = [stage for stage in run["stages"] if stage["state"] in OPEN]
        return ", ".join(f"{stage['stage']}{items(stage)}" for stage in going)
    failure = run.get("failure") or {}
    return f"{failure['stage']}: {failure['type']}" if failure.get("stage") else ""
