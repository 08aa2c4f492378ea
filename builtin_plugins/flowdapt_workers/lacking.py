"""What a stage needs and a node lacks: then its failure says which node, and what would help."""

from __future__ import annotations

from dataclasses import replace

from flowdapt_workers.calls import Done, Failed

#: what errors say, by their type, where a module is missing
_SIGNS = {"TargetNotFound": ("there is no module", "needs"), "ModuleNotFoundError": ("No module",)}


def located(answer: Done | Failed, node: str) -> Done | Failed:
    """Return an answer whose failures name the node where a module is missing.

    :param node: where the answer comes from
    """
    if not isinstance(answer, Done):
        return _failed(answer, node)
    if not answer.failures:
        return answer
    return replace(answer, failures=tuple(_failed(failed, node) for failed in answer.failures))


def _failed(failed: Failed, node: str) -> Failed:
    failure = failed.failure
    if not any(sign in failure["message"] for sign in _SIGNS.get(failure["type"], ())):
        return failed
    said = f"{failure['message']} on node {node}; `flowdapt plugins install` puts it on every node"
    return failed._replace(failure=failure | {"message": said})
