"""The three ways to show something: a table for people, JSON and YAML for scripts."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from flowdapt_cli.errors import INTERRUPTED

if TYPE_CHECKING:
    from flowdapt.resources import Model

Form = Literal["table", "json", "yaml"]
_CONTROLS = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f]"
)  # from \x80 on, each stands for ESC and more

Output = Annotated[Form, typer.Option("--output", "-o", help="How to print it.")]


def dump(value: Any, form: Form) -> None:
    """Print a value for scripts; nothing else may go to standard output with it."""
    if form == "json":
        typer.echo(json.dumps(value, indent=2, ensure_ascii=False))
    else:
        typer.echo(yaml_of(value))


def dump_one(value: Any, form: Form) -> None:
    """Print one of several values that come one after another: a line, or a document of YAML."""
    if form == "json":
        typer.echo(json.dumps(value, ensure_ascii=False))
    else:
        typer.echo(f"---\n{yaml_of(value)}")
    sys.stdout.flush()


def yaml_of(value: Any) -> str:
    """Return a value as YAML, without a line end."""
    import yaml

    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    text = yaml.dump(value, Dumper=dumper, sort_keys=False, allow_unicode=True, width=100)
    return str(text).removesuffix("...\n").rstrip("\n")


def plain(model: Model) -> dict[str, Any]:
    """Return what a server sent, as plain data: nothing that it left out is added."""
    return model.model_dump(mode="json", exclude_unset=True)


@contextmanager
def until_interrupted() -> Iterator[None]:
    """Do something that goes on until Ctrl-C."""
    try:
        yield
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


def harmless(text: str) -> str:
    """Return a text that a terminal shows and does not obey: of controls, tabs and line ends stay.

    What stages, people and servers wrote must not move the cursor, hide lines or name the window.
    """
    return _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", text)


def say(text: str) -> None:
    """Print what was asked for, for people; another program gets it as it is."""
    typer.echo(harmless(text) if sys.stdout.isatty() else text)


def note(text: str) -> None:
    """Tell a person something that is no part of what was asked for."""
    text = harmless(text) if sys.stderr.isatty() else text
    # Not by typer.echo, which goes past what stands in for standard error while bars are drawn.
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


class Stderr(io.StringIO):
    """Standard error as it is when something is written: above the bars while some are drawn."""

    def write(self, text: str) -> int:
        """Write to it."""
        return sys.stderr.write(text)

    def flush(self) -> None:
        """Flush it."""
        sys.stderr.flush()
