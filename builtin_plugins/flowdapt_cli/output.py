"""The three ways to show something: a table for people, JSON and YAML for scripts."""

import io
import json
import sys
from typing import Annotated, Any, Literal

import typer

Form = Literal["table", "json", "yaml"]
Output = Annotated[Form, typer.Option("--output", "-o", help="How to print it.")]


def dump(value: Any, form: Form) -> None:
    """Print a value for scripts; nothing else may go to standard output with it."""
    if form == "json":
        typer.echo(json.dumps(value, indent=2, ensure_ascii=False))
        return
    import yaml

    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    text = yaml.dump(value, Dumper=dumper, sort_keys=False, allow_unicode=True, width=100)
    typer.echo(text.removesuffix("...\n").rstrip("\n"))


def note(text: str) -> None:
    """Tell a person something that is no part of what was asked for."""
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
