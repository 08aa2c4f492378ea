"""What a stage needs and a node lacks: then its failure says which node, and what would help."""

from __future__ import annotations

from flowdapt_workers.calls import Failed

from flowdapt.errors import TargetNotFound

_HELP = "node {node} lacks it: `flowdapt plugins install` brings a package to every node"


def located(failed: Failed, error: BaseException | None, node: str) -> Failed:
    """Return a failure that names the node, if a module is missing there.

    :param error: what was raised, where that is known
    """
    facts, pickled = failed
    cause = error.__cause__ if isinstance(error, TargetNotFound) else error
    if isinstance(cause, ModuleNotFoundError) or facts["type"] == "ModuleNotFoundError":
        facts = {**facts, "message": f"{facts['message']}; {_HELP.format(node=node)}"}
    return facts, pickled
