"""What stages call to run other workflows of their server."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple
from uuid import UUID

from flowdapt_workers.asking import Asked, Asks

from flowdapt.context import get_run_context
from flowdapt.runs import named_values
from flowdapt.texts import to_json
from flowdapt_calls.errors import WorkflowFailed, WorkflowNotStarted

KIND = "call_workflow"  #: of the questions


class StartedRun(NamedTuple):
    """A run that was started."""

    uid: UUID
    name: str


def call_workflow(
    name: str | UUID,
    input: Mapping[str, Any] | None = None,  # noqa: A002 - the word that users know
    *,
    namespace: str | None = None,
    key: str | None = None,
) -> Any:
    """Run another workflow of the server, and return its result, as JSON has it.

    For a sync function. While it waits, its stage keeps no processor. Where the stage is computed
    again, such as after its worker or the server died, the same call finds the run that it started
    before, and starts another one only if that failed or was cancelled.

    :param name: of a workflow that was applied, or its uid
    :param input: named values, which JSON has a form for
    :param namespace: of the run; by default that of the run that the stage belongs to
    :param key: what makes this call the same call when the stage is computed again, for an input
        that is another one each time; by default the input does, and how often it was given
    :raises WorkflowFailed: it failed, or was cancelled
    :raises WorkflowNotStarted: there is no such workflow, or calls go too deep
    :raises InvalidInput: the input is no object of named values
    :raises RuntimeError: the caller is no stage that a server computes, or may not wait here
    """
    asks, asked = _asked(name, input, namespace, key, wait=True)
    return _result(asks.wait(asked))


async def call_workflow_async(
    name: str | UUID,
    input: Mapping[str, Any] | None = None,  # noqa: A002
    *,
    namespace: str | None = None,
    key: str | None = None,
) -> Any:
    """Do what :func:`call_workflow` does, from an async function.

    Where waiting for it is cancelled, the run is, too.
    """
    asks, asked = _asked(name, input, namespace, key, wait=True)
    return _result(await asks.answer(asked))


def start_workflow(
    name: str | UUID,
    input: Mapping[str, Any] | None = None,  # noqa: A002
    *,
    namespace: str | None = None,
    key: str | None = None,
) -> StartedRun:
    """Start another workflow as :func:`call_workflow` does, but do not wait for its result.

    The run goes on when the run that the stage belongs to finishes, and is cancelled when that
    fails or is cancelled.

    :return: its ``uid`` and ``name``
    """
    asks, asked = _asked(name, input, namespace, key, wait=False)
    return _started(asks.wait(asked))


async def start_workflow_async(
    name: str | UUID,
    input: Mapping[str, Any] | None = None,  # noqa: A002
    *,
    namespace: str | None = None,
    key: str | None = None,
) -> StartedRun:
    """Do what :func:`start_workflow` does, from an async function."""
    asks, asked = _asked(name, input, namespace, key, wait=False)
    return _started(await asks.answer(asked))


def _asked(
    name: str | UUID, values: object, namespace: str | None, key: str | None, *, wait: bool
) -> tuple[Asks, Asked]:
    context = get_run_context()
    asks = context.asks
    if not isinstance(asks, Asks):
        raise RuntimeError("workflows are called by stages that a server computes, and not here")
    call = {"workflow": str(name), "namespace": namespace, "input": named_values(values)}
    count = asks.count(context.item, to_json(call)) if key is None else 0
    about = to_json({**call, "key": key, "count": count, "wait": wait})
    return asks, Asked(KIND, context.item, about, idle=wait)


def _answer(text: bytes) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(text)
    if "error" in answer:
        raise WorkflowNotStarted(f"{answer['error']['message']}")
    return answer


def _result(text: bytes) -> Any:
    answer = _answer(text)
    if "failure" in answer:
        facts = answer["run"], UUID(answer["uid"]), answer["workflow"]
        raise WorkflowFailed(*facts, *answer["failure"])
    return answer["result"]


def _started(text: bytes) -> StartedRun:
    answer = _answer(text)
    return StartedRun(UUID(answer["uid"]), answer["run"])
