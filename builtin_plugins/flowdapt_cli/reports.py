"""What is said of a run: how it ended, what came out, and what went wrong where."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import typer

from flowdapt_cli.errors import FAILED
from flowdapt_cli.output import Form, dump, note, say
from flowdapt_cli.sizes import size
from flowdapt_cli.times import duration, took

Record = Mapping[str, Any]  #: a run or a stage as the server has it


def report(run: Record, stages: Sequence[Record], form: Form) -> int:
    """Print a run that has ended: its result, and on standard error how it went.

    :return: the program's status
    """
    note(f"run {run['name']} {run['state']} in {took(run)}")
    if run["state"] == "finished":
        left_out(stages)
    else:
        failure(run)
    if form != "table":
        dump(run, form)
    elif run["state"] == "finished":
        from flowdapt_cli.render import result

        result(run.get("result"))
    return 0 if run["state"] == "finished" else FAILED


def inspect(run: Record, stages: Sequence[Record], form: Form) -> None:
    """Print everything that is known of a run."""
    if form != "table":
        return dump({**run, "stages": list(stages)}, form)
    from flowdapt_cli.render import result, table

    dump({key: value for key, value in run.items() if key not in ("result", "failure")}, "yaml")
    typer.echo()
    table([_row(stage) for stage in stages])
    left_out(stages)
    if run["state"] in ("failed", "cancelled"):
        typer.echo()
        return failure(run, tell=say)
    typer.echo()
    return result(run.get("result"))


def _row(stage: Record) -> dict[str, Any]:
    return {
        "stage": stage["stage"],
        "state": stage["state"],
        "took": took(stage),
        "items": stage["items"],
        "failed": stage["items_failed"] or None,
        "attempts": stage["attempts"],
        "cpu": duration(stage["cpu_seconds"]),
        "result": size(stage.get("result_bytes")),
        "worker": stage["worker"],
        **({"waits for": stage["waiting"]} if stage.get("waiting") else {}),
    }


def failure(run: Record, tell: Callable[[str], object] = note) -> None:
    """Say why a run failed, and where.

    :param tell: prints a text, on standard error unless given
    """
    found = run.get("failure") or {}
    if not found and run.get("result"):
        found = dict(zip(("type", "message"), run["result"], strict=False))
    where = f"stage {found['stage']}" if found.get("stage") else ""
    if found.get("item") is not None:
        where += f", item {found['item']}"
    if found.get("traceback"):
        tell(f"{where}:\n{found['traceback'].rstrip()}")
    else:
        tell(f"{where and where + ': '}{found.get('type')}: {found.get('message')}")


def left_out(stages: Sequence[Record]) -> None:
    """Say on standard error which elements of parameterized stages are not in the result."""
    for stage in stages:
        if stage.get("items_failed"):
            note(
                f"stage {stage['stage']}: {stage['items_failed']:,} of {stage['items']:,} items "
                "failed and are left out"
            )
            for first in stage["failures"][:1]:
                note(f"  item {first['item']}: {first['type']}: {first['message']}")


def line(record: Record) -> str:
    """Return a line of a run's log as people read it, behind the stage that wrote it."""
    item = "" if record.get("item") is None else f"[{record['item']}]"
    level = f"{record['level']}: " if record.get("level") else ""
    return f"{record['stage']}{item} | {level}{record.get('message', '')}"
