"""What ``get`` lists: resources of any kind, and runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flowdapt.client import Refused
from flowdapt.resources import Workflow
from flowdapt_cli import firings
from flowdapt_cli.kinds import find, is_plural, is_run, kind_named
from flowdapt_cli.output import plain
from flowdapt_cli.times import age, took

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from flowdapt.client import Client, Run
    from flowdapt.plugins import Plugins

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Wanted:
    """Which runs to list.

    :param states: one of these; empty means all
    :param limit: at most so many; below 1 means all
    """

    states: Sequence[str] = ()
    since: datetime | None = None
    limit: int = 10


def get(
    client: Client, plugins: Plugins, word: str, name: str | None, wanted: Wanted
) -> tuple[Any, Rows]:
    """Return what is asked for, as the server has it and as rows of a table."""
    if is_run(word) and name and not is_plural(word):
        run = plain(client.runs.get(name))
        return run, [run_row(run)]
    if is_run(word):
        runs = [plain(run) for run in _runs(client, name, wanted)]
        return runs, [run_row(run) for run in runs]
    kind = kind_named(plugins, word)
    if name:
        found = plain(find(client, kind, name))
        return found, [_resource(found)]
    resources = [plain(resource) for resource in client.resources(kind).list()]
    if kind.collection == "triggers":
        return resources, _triggers(client, resources)
    return resources, [_resource(resource) for resource in resources]


def _triggers(client: Client, resources: Sequence[Mapping[str, Any]]) -> Rows:
    """Return rows that tell how triggers stand, where their service runs on the server."""
    try:
        states = {str(state.uid): plain(state) for state in client.triggers.list()}
    except Refused:
        states = {}
    rows = [(states.get(str(one["metadata"]["uid"])), one) for one in resources]
    return [_resource(one) if state is None else firings.row(state) for state, one in rows]


def _runs(client: Client, workflow: str | None, wanted: Wanted) -> Sequence[Run]:
    """Return the last runs, newest first: of one workflow, or of all that there are."""

    def listed(name: str | None) -> list[Run]:
        limit = wanted.limit if wanted.limit > 0 else None
        found = client.runs.list(name, state=wanted.states, since=wanted.since, limit=limit)
        return [*found]

    runs = listed(workflow)
    if not runs and workflow:  # perhaps it is a uid, or there is no such workflow
        name = find(client, Workflow, workflow).name
        return runs if name == workflow else listed(name)
    return runs


def _resource(resource: Mapping[str, Any]) -> dict[str, Any]:
    facts = resource["metadata"]
    return {
        "name": facts["name"],
        "uid": facts["uid"],
        "created": age(facts["created_at"]),
        "changed": age(facts["updated_at"]),
    }


def run_row(run: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a table says of a run."""
    return {
        "name": run["name"],
        "workflow": run["workflow"],
        "state": run["state"],
        "started": age(run["started_at"]),
        "took": took(run),
    }
