"""The words for kinds: what may stand after ``get``, ``inspect`` and ``delete``."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from flowdapt.errors import PluginError, ResourceNotFound, nearest
from flowdapt.resources import KINDS, Resource
from flowdapt_cli.errors import CommandError
from flowdapt_cli.output import note

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from flowdapt.client import Client
    from flowdapt.plugins import Plugins

_R = TypeVar("_R", bound=Resource)

RUN = ("run", "workflow_run")  #: words for a single run
RUNS = ("runs", "workflow_runs")  #: words for the runs of a workflow


class NoSuchKind(CommandError):
    """No kind has that name or alias."""

    def __init__(self, word: str, kinds: Mapping[str, type[Resource]]) -> None:
        known = [*kinds, "run"]
        near = nearest(
            word, [*known, *(alias for kind in kinds.values() for alias in kind.aliases)]
        )
        super().__init__(f"no kind {word!r}{near or '; there are ' + ', '.join(known)}")


def is_run(word: str) -> bool:
    """Tell whether a word means runs, which are no resources."""
    return _plain(word) in (*RUN, *RUNS)


def is_plural(word: str) -> bool:
    """Tell whether a word means the runs of a workflow, not a single one."""
    return _plain(word) in RUNS


def kinds(plugins: Plugins) -> dict[str, type[Resource]]:
    """Return the models of all kinds, by name; one that cannot be imported is only told of."""
    found = dict(KINDS)
    for name in plugins.providers("kinds"):
        try:
            found[name] = plugins.resolve("kinds", name)
        except PluginError as error:
            note(f"warning: {error}")
    return found


def kind_named(plugins: Plugins, word: str) -> type[Resource]:
    """Return the model that a word such as ``workflows`` or ``wf`` stands for.

    :raises NoSuchKind: none
    """
    known = kinds(plugins)
    for name, kind in known.items():
        if _plain(word) in (name, f"{name}s", *kind.aliases):
            return kind
    raise NoSuchKind(word, known)


def _plain(word: str) -> str:
    return word.lower().replace("-", "_")


def find(client: Client, kind: type[_R], name: str) -> _R:
    """Return a resource of a server.

    :raises ResourceNotFound: there is none; with the names that are near
    """
    with near_names(client, kind):
        return client.resources(kind).get(name)


@contextmanager
def near_names(client: Client, kind: type[Resource]) -> Iterator[None]:
    """Where a server does not have a resource, say which it has that are named alike."""
    try:
        yield
    except ResourceNotFound as error:
        names = [resource.name for resource in client.resources(kind).list()]
        error.args = (f"{error}{nearest(error.name, names)}",)
        raise
