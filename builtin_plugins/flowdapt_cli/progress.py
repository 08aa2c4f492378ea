"""Draws how the stages of a run go on: a bar for each where there is a terminal, else lines."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Self

from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.progress_bar import ProgressBar
from rich.text import Text

from flowdapt_cli.output import harmless
from flowdapt_cli.render import console
from flowdapt_cli.sizes import size
from flowdapt_cli.times import duration, took

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

BAR_COLUMNS = 30
FINAL = (
    "finished",
    "failed",
    "cancelled",
    "skipped",
)  #: states of runs and stages that do not change

_COLOURS = {"finished": "green", "failed": "red", "cancelled": "yellow", "skipped": "blue"}


class Stages:
    """How the stages of one run go on, drawn on standard error while the context lasts.

    :param names: the stages that are to come, in their order
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._console = console(stderr=True)
        self._bars = Progress(
            TextColumn("{task.description}", style="bold", markup=False),
            _Bar(bar_width=BAR_COLUMNS),
            _Facts(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._ended: set[str] = set()
        self._seen: dict[str, float] = {}
        for name in names:
            self._task(name)

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bars.stop()

    def show(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Draw the stages as they are now.

        :param records: of the stages that began, as the server has them
        """
        for record in records:
            name = str(record["stage"])
            self._seen.setdefault(name, time.monotonic())
            if name in self._ended:
                continue
            self._bars.update(
                self._task(name),
                record=record,
                since=self._seen[name],
                total=record.get("items"),
                completed=record.get("items_done") or 0,
            )
            if record["state"] in FINAL:
                self._ended.add(name)
                if self._bars.disable:
                    facts = record["state"], *_amounts(record), took(record)
                    self._console.print(f"{harmless(name)}: {', '.join(filter(None, facts))}")

    def _task(self, name: str) -> TaskID:
        if name not in self._tasks:
            shown = harmless(name)
            self._tasks[name] = self._bars.add_task(shown, start=False, total=None, record={})
        return self._tasks[name]


class _Bar(BarColumn):
    """Waiting stages are empty, those without items move while they run."""

    def render(self, task: Task) -> ProgressBar:
        state = task.fields["record"].get("state")
        colour = _COLOURS.get(state, "cyan")
        whole = state == "finished" or (state in FINAL and task.total is None)
        return ProgressBar(
            total=task.total or 1,
            completed=(task.total or 1) if whole else task.completed,
            width=self.bar_width,
            pulse=state == "running" and task.total is None,
            animation_time=task.get_time(),
            complete_style=colour,
            finished_style=colour,
            pulse_style=colour,
        )


class _Facts(ProgressColumn):
    """What is known beside the bar: time, items, failures, the size of the result."""

    def render(self, task: Task) -> Text:
        record = task.fields["record"]
        if not record:
            return Text("waiting", style="dim")
        text = Text(f"{took(record) or duration(time.monotonic() - task.fields['since']):>8}")
        if record["state"] in ("failed", "cancelled", "skipped"):
            text.append(f"  {record['state']}", style=_COLOURS[record["state"]])
        for amount, style in zip(_amounts(record), ("", "red", ""), strict=True):
            if amount:
                text.append(f"  {amount}", style=style)
        if waiting := record.get("waiting"):
            text.append(f"  waits: {harmless(waiting)}", style="yellow")
        return text


def _amounts(record: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return how many items there are, how many of them failed, and how large the result is."""
    return _items(record), _failed(record), size(record.get("result_bytes"))


def _items(record: Mapping[str, Any]) -> str:
    if record.get("items") is None:
        return ""
    done = f"{record['items_done']:,}/" if record["items_done"] != record["items"] else ""
    return f"{done}{record['items']:,} items"


def _failed(record: Mapping[str, Any]) -> str:
    failed = record.get("items_failed")
    return f"{failed:,} failed" if failed else ""
