"""Runs workflows without a server, as in earlier releases; see also ``flowdapt.run``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from flowdapt.compute.executor.local import LocalExecutor
from flowdapt_workers.failures import original
from flowdapt_workers.rules import rules

from flowdapt.errors import FlowdaptError
from flowdapt.executors import Executor, StageFailed
from flowdapt.plugins import offered
from flowdapt.resources import Workflow
from flowdapt.runs import Run, RunState, named_values
from flowdapt.walks import Walk, failure_of

__all__ = ["execute_workflow"]


class WorkflowRun(Run):
    """A run that has ended, with its result; of one that failed, a class and a message."""

    result: Any = None


async def execute_workflow(
    workflow: Workflow | Mapping[str, Any],
    input: Mapping[str, Any] | None = None,  # noqa: A002 - as it was
    *,
    namespace: str = "default",
    return_result: bool = False,
    run: Run | None = None,
    executor: LocalExecutor | None = None,
    config: Mapping[str, Any] | None = None,
    **params: Any,
) -> Any:
    """Run a workflow in this process, and return the run, or its result as it is.

    :param workflow: the target of a stage may be a function
    :param executor: is started for the time of the call, unless it runs; by default threads, with
        ``params``
    :param config: what stages find as ``get_run_context().config``
    :raises Exception: with ``return_result``, what a stage raised
    """
    given = executor or LocalExecutor(use_processes=False, **params)
    begun = not given.running
    await given.start()
    try:
        assert given.executor is not None  # noqa: S101 - it runs
        walk = await _walk(_parsed(workflow), input, config, namespace, run, given.executor)
        try:
            return await _ended(walk, return_result)
        finally:
            await given.executor.release(walk.run.uid)
    finally:
        if begun:
            await given.close()


def _parsed(workflow: Workflow | Mapping[str, Any]) -> Workflow:
    if isinstance(workflow, Workflow):
        return workflow
    data = {"metadata": {"name": "workflow"}, "kind": "workflow", **workflow}
    return Workflow.parse(data, where="workflow")


async def _walk(  # noqa: PLR0917 - all of it is what the caller gave
    workflow: Workflow,
    values: Mapping[str, Any] | None,
    config: Mapping[str, Any] | None,
    namespace: str,
    run: Run | None,
    executor: Executor,
) -> Walk:
    types, policies = await rules(workflow)
    facts: dict[str, Any] = {"namespace": namespace, "source": "manual", "config": config or {}}
    facts |= {"workflow": workflow.name, "input": named_values(values)}
    made = Run(**facts) if run is None else run.model_copy(update=facts)
    if made.state is RunState.PENDING:
        made = made.to(RunState.RUNNING)
    storage = offered("storages", "memory")()
    await storage.add_run(made)
    places = offered("exports", "places")()
    return Walk(made, workflow, storage, executor, types, policies=policies, places=places)


async def _ended(walk: Walk, return_result: bool) -> Any:
    try:
        outcome = await walk.begin()
    except FlowdaptError as error:
        if return_result:
            raise original(error) if isinstance(error, StageFailed) else error from None
        failure = failure_of(error)
        run = walk.run.to(RunState.FAILED, failure=failure)
        return WorkflowRun(**run.model_dump(), result=[failure.type, failure.message])
    if return_result:
        return await walk.executor.fetch(outcome.ref)
    result = json.loads(bytes(outcome.json or b"null"))
    return WorkflowRun(**walk.run.to(RunState.FINISHED).model_dump(), result=result)
