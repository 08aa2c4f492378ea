"""What ``delete`` removes: runs, and resources by name or as files name them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowdapt.errors import ResourceNotFound
from flowdapt_cli import documents
from flowdapt_cli.kinds import is_run, kind_named, kinds, near_names
from flowdapt_cli.output import note, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flowdapt.client import Client
    from flowdapt.plugins import Plugins
    from flowdapt.resources import Resource

Named = tuple["type[Resource] | None", str]  #: a kind, or None for a run, and a name


def named(plugins: Plugins, word: str, names: Sequence[str]) -> list[Named]:
    """Return what is meant by a word for a kind, and names."""
    kind = None if is_run(word) else kind_named(plugins, word)
    return [(kind, name) for name in names]


def in_files(plugins: Plugins, paths: Sequence[str]) -> list[Named]:
    """Return the resources that stand in files."""
    checked = documents.read(paths, kinds(plugins))
    return [(type(one.resource), one.resource.name) for one in checked]


def delete(client: Client, kind: type[Resource] | None, name: str) -> bool:
    """Remove one and say so; return whether it was there."""
    try:
        if kind is None:
            title = f"run {client.runs.delete(name).name}"
        else:
            with near_names(client, kind):
                found = client.resources(kind).delete(name)
            title = f"{found.kind} {found.name}"
    except ResourceNotFound as error:
        note(f"Error: {error}")
        return False
    say(f"{title} deleted")
    return True
