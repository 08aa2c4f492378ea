"""What differs between two states of a resource, as a unified diff of their YAML."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

import typer

from flowdapt_cli.output import yaml_of

if TYPE_CHECKING:
    from flowdapt.resources import Resource

#: Of the metadata, what people write.
_GIVEN: dict[str, Any] = {"kind": True, "metadata": {"name", "annotations"}, "spec": True}
_COLOURS = {"+": "green", "-": "red", "@": "cyan"}


def difference(old: Resource | None, new: Resource | None, was: str, now: str) -> str:
    """Return what differs; nothing where nothing does.

    :param was: names the old state
    :param now: names the new one
    """
    lines = difflib.unified_diff(_lines(old), _lines(new), was, now, lineterm="")
    return "\n".join(lines)


def show(text: str) -> None:
    """Print what differs, coloured on a terminal."""
    for line in text.splitlines():
        heading = line.startswith(("+++", "---"))
        typer.secho(line, fg=None if heading else _COLOURS.get(line[:1]), bold=heading)


def _lines(resource: Resource | None) -> list[str]:
    if resource is None:
        return []
    return yaml_of(resource.model_dump(mode="json", include=_GIVEN)).splitlines()
