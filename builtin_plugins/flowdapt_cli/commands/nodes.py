"""The command that shows where stages are computed."""

from typing import Any

import typer

from flowdapt_cli.invocation import invocation
from flowdapt_cli.output import Output, dump, note, plain
from flowdapt_cli.sizes import size

TOLD_IF_ANY = {"plugin_set": "plugin set", "problem": "problem"}


def nodes(ctx: typer.Context, *, output: Output = "table") -> None:
    """Show where stages are computed, and what is free there."""
    with invocation(ctx).client() as client:
        found = [plain(node) for node in client.nodes()]
    if output != "table":
        return dump(found, output)
    if not found:
        return note("no nodes")
    from flowdapt_cli.render import table

    return table([row(node) for node in found])


def row(node: dict[str, Any]) -> dict[str, Any]:
    """Return what the table shows of a node."""
    total, free = node["resources"], node["free"]
    return {
        "node": node["name"],
        "state": node["state"],
        **{name: _share(name, free.get(name, 0.0), total[name]) for name in sorted(total)},
        "workers": node["workers"],
        **{name: node[key] for key, name in TOLD_IF_ANY.items() if node[key]},
    }


def _share(name: str, free: float, total: float) -> str:
    """Return how much of a resource is free, such as ``1.5 of 2``."""
    if name == "memory":
        return f"{size(int(free))} of {size(int(total))}"
    return f"{free:g} of {total:g}"
