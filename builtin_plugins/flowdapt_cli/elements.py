"""What is shown of the elements of a parameterized stage."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from flowdapt.errors import nearest
from flowdapt_cli.errors import CommandError
from flowdapt_cli.output import Form, dump, harmless, plain, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flowdapt.client import Client, ItemSummary, RunItem

ROWS = 50  #: in a table, where nobody says how many


class NoSuchItems(CommandError):
    """A run has no parameterized stage of that name."""

    def __init__(self, run: str, stage: str, known: Sequence[str]) -> None:
        others = f"; it has {', '.join(known)}" if known else ""
        near = nearest(stage, known) or others
        super().__init__(f"run {run!r} has no elements of a stage {stage!r}{near}")
        self.run, self.stage = run, stage


def show(
    client: Client, run: str, stage: str, *, slowest: int | None, failed: bool, form: Form
) -> None:
    """Print elements of a stage of a run, and what all of them come to.

    :param slowest: only so many, those first that took longest
    :param failed: only those that failed
    :raises NoSuchItems: the run has no elements of that stage
    """
    summaries = {summary.stage: summary for summary in client.runs.item_summaries(run)}
    if stage not in summaries:
        raise NoSuchItems(run, stage, [*summaries])
    found = client.runs.items(
        run,
        stage=stage,
        state="failed" if failed else None,
        order="slowest" if slowest else "index",
    )
    if form != "table":
        items = [plain(item) for item in islice(found, slowest)]
        return dump({"summary": plain(summaries[stage]), "items": items}, form)
    most = slowest or ROWS
    items_shown = [*islice(found, most + 1)]
    from flowdapt_cli.render import table

    table([_row(item) for item in items_shown[:most]])
    if not slowest and len(items_shown) > most:
        say(f"... and more; --slowest {most} shows those that took longest, -o json prints all")
    return say(_summed_up(summaries[stage]))


def _row(item: RunItem) -> dict[str, Any]:
    first_line = item.message.strip().partition("\n")[0]
    return {
        "item": item.item,
        "state": item.state,
        "tries": item.attempts,
        "seconds": item.seconds,
        "error": harmless(f"{item.type}: {first_line}") if item.type else "",
    }


def _summed_up(summary: ItemSummary) -> str:
    """Return a line on all elements of a stage."""
    line = f"stage {summary.stage}: {summary.done:,} of {summary.count:,} items done"
    if summary.failed:
        line += f", {summary.failed:,} failed"
    if (seconds := summary.seconds) is not None:
        line += (
            f"; {seconds.least:.3g} to {seconds.most:.3g} s, median {seconds.median:.3g} s, "
            f"95 % within {seconds.p95:.3g} s"
        )
    return line
