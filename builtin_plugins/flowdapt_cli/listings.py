"""What ``get`` lists: resources of any kind, and runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowdapt.resources import Workflow
from flowdapt_cli.kinds import find, is_plural, is_run, kind_named, missing
from flowdapt_cli.times import age, took

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flowdapt.plugins import Plugins
    from flowdapt_cli.client import Client

Rows = list[dict[str, Any]]


def get(
    client: Client, plugins: Plugins, word: str, name: str | None, limit: int
) -> tuple[Any, Rows]:
    """Return what is asked for, as the server has it and as rows of a table."""
    if is_run(word) and name and not is_plural(word):
        run = client.run(name)
        return run, [_run(run)]
    if is_run(word):
        runs = _runs(client, name, limit)
        return runs, [_run(run) for run in runs]
    kind = kind_named(plugins, word)
    if name:
        found = find(client, kind, name)
        return found, [_resource(found)]
    resources = client.list(kind.collection)
    return resources, [_resource(resource) for resource in resources]


def _runs(client: Client, workflow: str | None, limit: int) -> Sequence[dict[str, Any]]:
    """Return the last runs, newest first: of one workflow, or of all that there are."""
    if workflow is None:
        names = [one["metadata"]["name"] for one in client.list(Workflow.collection)]
    else:
        names = [workflow]
    found: list[dict[str, Any]] = []
    for name in names:
        runs = client.runs(name, limit)
        if runs is None:
            raise missing(client, Workflow, name)
        found += runs
    found.sort(key=lambda run: str(run["started_at"]), reverse=True)
    return found[:limit] if limit > 0 else found


def _resource(resource: Mapping[str, Any]) -> dict[str, Any]:
    facts = resource["metadata"]
    return {
        "name": facts["name"],
        "uid": facts["uid"],
        "created": age(facts["created_at"]),
        "changed": age(facts["updated_at"]),
    }


def _run(run: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": run["name"],
        "workflow": run["workflow"],
        "state": run["state"],
        "started": age(run["started_at"]),
        "took": took(run),
        "uid": run["uid"],
    }
