"""The commands: what they are given, what they ask, and what they print."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from flowdapt_scaffold import names, rendering

Form = Literal["table", "json", "yaml"]


def new(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Of the distribution, such as my-plugin.")
    ],
    *,
    kind: Annotated[
        str | None,
        typer.Option(
            "--kind",
            "-k",
            metavar="KIND",
            help="What it brings beside stages: stages for nothing more, executor, storage, "
            "trigger or service.",
        ),
    ] = None,
    extra: Annotated[
        list[str] | None,
        typer.Option(
            "--extra",
            "-e",
            metavar="KEY=VALUE",
            help="An answer: summary, author or module; repeatable.",
        ),
    ] = None,
    defaults: Annotated[
        bool, typer.Option("--defaults", help="Ask nothing; so it is without a terminal, too.")
    ] = False,
    output_dir: Annotated[
        Path, typer.Option("--output-dir", metavar="PATH", help="Where its folder is made.")
    ] = Path(),
) -> None:
    """Make a plugin of your own: a project that works, with tests, ready to be changed.

    It has a stage, a workflow with its config and a trigger, and what its kind is for.
    """
    names.check(name)
    given = rendering.answers(extra or (), kind)
    if not defaults and sys.stdin.isatty():
        for key, question, default in rendering.questions(name):
            if key not in given:
                given |= rendering.checked({key: typer.prompt(question, default=default)})
    made = rendering.render(name, given, output_dir)
    typer.echo(f"made {made}; what is there works already:\n")
    typer.echo(f"  cd {made}\n  uv sync && uv run pytest\n  uv run flowdapt plugins check .")


def check(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A project's folder, or a wheel.")],
    *,
    output: Annotated[Form, typer.Option("--output", "-o", help="How to print it.")] = "table",
) -> None:
    """Say what a plugin offers, what is wrong with it, and whether it goes with this flowdapt.

    It is not installed, but it is imported, in a process of its own; what it requires has to be
    installed. Fails where something is wrong.
    """
    from flowdapt_scaffold.reports import told
    from flowdapt_scaffold.trials import tried

    report = tried(path)
    if output == "json":
        typer.echo(json.dumps(report, indent=2, ensure_ascii=False))
    elif output == "yaml":
        import yaml

        typer.echo(yaml.safe_dump(report, sort_keys=False, allow_unicode=True).rstrip("\n"))
    else:
        typer.echo("\n".join(told(report)))
    if report["problems"]:
        raise typer.Exit(1)
