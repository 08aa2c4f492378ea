"""Stages run other workflows of their server, and go on with what comes of them."""

from flowdapt.hooks import Provider, hookimpl

_CALLING = "flowdapt_calls.calling"


@hookimpl
def flowdapt_exports() -> list[Provider]:
    return [
        Provider("call_workflow", f"{_CALLING}:call_workflow", "Run another workflow."),
        Provider(
            "call_workflow_async", f"{_CALLING}:call_workflow_async", "The same, to be awaited."
        ),
        Provider("start_workflow", f"{_CALLING}:start_workflow", "Start one, and do not wait."),
        Provider(
            "start_workflow_async", f"{_CALLING}:start_workflow_async", "The same, to be awaited."
        ),
        Provider("WorkflowFailed", "flowdapt_calls.errors:WorkflowFailed", "What a call raises."),
    ]


@hookimpl
def flowdapt_policies() -> list[Provider]:
    return [Provider("calls", "flowdapt_calls.children:Children", "Runs that stages start.")]
