"""What is said of a run: how it ended, what came out, and what went wrong where."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import typer

from flowdapt_cli.errors import FAILED
from flowdapt_cli.output import Form, dump, note, say
from flowdapt_cli.sizes import size
from flowdapt_cli.times import HOUR, at, duration, took

SHORT = 0.005  #: seconds of waiting that nobody wants to know of

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


def inspect(run: Record, stages: Sequence[Record], history: Record, form: Form) -> None:
    """Print everything that is known of a run.

    :param history: its ``transitions``, and what the stages ``used`` together
    """
    if form != "table":
        known = {key: history[key] for key in ("used", "transitions")}
        return dump({**run, "stages": list(stages), **known}, form)
    from flowdapt_cli.render import console, result, table
    from flowdapt_cli.timelines import short, timeline

    dump({key: value for key, value in run.items() if key not in ("result", "failure")}, "yaml")
    typer.echo()
    out = console()
    out.print(timeline(run, stages, columns=out.width))
    typer.echo()
    table(_filled([_row(stage) | {"stage": short(stage["stage"], out.width)} for stage in stages]))
    if history["used"].get("peak_memory_bytes"):  # else nothing was measured
        say(f"in all: {used(history['used'])}")
    for change in history["transitions"]:
        if change["state"] == "resumed":
            say(f"a server that was started anew went on with it at {change['at']}")
    left_out(stages)
    if run["state"] in ("failed", "cancelled"):
        typer.echo()
        return failure(run, tell=say)
    typer.echo()
    return result(run.get("result"))


def _row(stage: Record) -> dict[str, Any]:
    spent = stage.get("used") or {}
    return {
        "stage": stage["stage"],
        "state": stage["state"],
        "items": _items(stage),
        "failed": stage["items_failed"] or None,
        "tries": stage["attempts"],
        "waited": waited(stage),
        "cpu": "" if stage.get("cpu_seconds") is None else duration(stage["cpu_seconds"]),
        "gpu": duration(spent["gpu_seconds"]) if spent.get("gpu_seconds") else "",
        "memory": size(spent.get("peak_memory_bytes")),
        "result": size(stage.get("result_bytes")),
        "waits for": stage.get("waiting") or "",
    }


def _items(stage: Record) -> Any:
    done, count = stage.get("items_done"), stage["items"]
    return count if count is None or done == count else f"{done:,}/{count:,}"


def _filled(rows: Sequence[Record]) -> list[dict[str, Any]]:
    """Return the rows without the columns that say nothing in any of them."""
    plain = {"failed": None, "tries": 1}
    empty = (
        {
            name
            for name in rows[0]
            if all(row[name] in ("", None, plain.get(name, "")) for row in rows)
        }
        if rows
        else set()
    )
    return [{name: value for name, value in row.items() if name not in empty} for row in rows]


def waited(stage: Record) -> str:
    """Return how long a stage was ready before a worker took it, if that is known and matters."""
    history = stage.get("history") or ()
    if not history:
        return ""
    seconds = (at(history[0]["at"]) - at(stage["started_at"])).total_seconds()
    return duration(seconds) if seconds >= SHORT else ""


def used(amounts: Mapping[str, float]) -> str:
    """Return what the stages of a run used together."""
    joules = amounts.get("energy_joules", 0.0)
    energy = f"{joules / HOUR:,.1f} Wh" if joules >= HOUR else f"{joules:,.1f} J"
    gpu = amounts.get("gpu_seconds", 0.0)
    parts = [
        f"cpu {duration(amounts['cpu_seconds'])}",
        f"gpu {duration(gpu)}" if gpu else "",
        f"memory {size(int(amounts['peak_memory_bytes']))}",
        f"{size(int(amounts.get('argument_bytes', 0)))} in",
        f"{size(int(amounts.get('result_bytes', 0)))} out",
        f"about {energy}",
    ]
    return ", ".join(filter(None, parts))


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
