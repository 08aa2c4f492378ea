"""The runs of a server as they are now, for ``top``."""

from __future__ import annotations

from datetime import UTC, datetime
from threading import Lock
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from flowdapt.events import RUN_FINISHED, RUN_STARTED, STAGE_CHANGED
from flowdapt_cli.happenings import items
from flowdapt_cli.output import plain
from flowdapt_cli.render import console, drawn_table
from flowdapt_cli.times import age, at, duration, took

if TYPE_CHECKING:
    from flowdapt.client import Client, Event

REFRESHES = 4  #: a second, so that times go on between events
TYPES = (RUN_STARTED, RUN_FINISHED, STAGE_CHANGED)
OPEN = ("pending", "running")  #: states of runs that go on


class Board:
    """The last runs, with the stages that are being computed.

    :param limit: at most so many
    """

    def __init__(self, client: Client, workflow: str | None, limit: int) -> None:
        self.client, self.workflow, self.limit = client, workflow, limit
        self._runs: dict[str, dict[str, Any]] = {}
        self._stages: dict[str, dict[str, dict[str, Any]]] = {}  # of open runs
        self._lock = Lock()  # it is drawn in a thread of its own

    def load(self) -> None:
        """Read from the server what there is."""
        runs = [plain(run) for run in self.client.runs.list(self.workflow, limit=self.limit)]
        stages = {
            run["uid"]: {one.stage: plain(one) for one in self.client.runs.stages(run["uid"])}
            for run in runs
            if run["state"] in OPEN
        }
        with self._lock:
            self._runs, self._stages = {run["uid"]: run for run in runs}, stages

    def take(self, event: Event) -> None:
        """Learn what happened."""
        with self._lock:
            if event.type == STAGE_CHANGED:
                self._stages.setdefault(event.data["run"], {})[event.data["stage"]] = event.data
                return
            self._runs[event.data["uid"]] = event.data
            if event.type == RUN_FINISHED:
                self._stages.pop(event.data["uid"], None)
            for old in self._newest()[self.limit :]:
                del self._runs[old["uid"]]

    def data(self) -> list[dict[str, Any]]:
        """Return the runs, newest first, each with its ``stages`` while it goes on."""
        with self._lock:
            return [
                {**run, "stages": [*self._stages.get(run["uid"], {}).values()]}
                for run in self._newest()
            ]

    def rows(self) -> list[dict[str, Any]]:
        """Return the runs as rows of a table."""
        return [_row(run) for run in self.data()]

    def draw(self) -> RenderableType:
        """Return what is seen of them."""
        rows = self.rows()
        going = sum(row["state"] in OPEN for row in rows)
        words = f"{self.client.address}  {going} of the last {len(rows)} runs go on"
        head = Text(words, no_wrap=True, overflow="ellipsis")
        head.append("   Ctrl-C ends", style="dim")
        return Group(head, Text(), drawn_table(rows))

    def _newest(self) -> list[dict[str, Any]]:
        return sorted(self._runs.values(), key=lambda run: str(run["started_at"]), reverse=True)


def watch(board: Board) -> None:
    """Draw the runs as they go on, until the program is interrupted."""
    board.load()
    with Live(
        get_renderable=board.draw, console=console(), refresh_per_second=REFRESHES, screen=True
    ):
        events = board.client.events.follow(
            workflow=board.workflow, types=TYPES, opened=board.load, away=None
        )
        for event in events:
            board.take(event)


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
