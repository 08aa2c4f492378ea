"""What may become of a workflow that a stage calls."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from flowdapt.errors import FlowdaptError


class WorkflowNotStarted(FlowdaptError):
    """A workflow that a stage called was not started; the message says why."""


class CallsTooDeep(FlowdaptError):
    """Workflows call one another without end, or through too many others.

    :param workflows: their names, the first one at the top
    """

    def __init__(self, workflows: list[str], most: int) -> None:
        super().__init__(
            f"{' > '.join(workflows)}: workflows call one another, and no more than {most} may do "
            "so in a row"
        )
        self.workflows = workflows


class CallWaitsForItself(FlowdaptError):
    """A run would wait for its turn until the run has ended that waits for its result.

    :ivar run: the name of that one
    """

    def __init__(self, workflow: str, run: str) -> None:
        super().__init__(
            f"workflow {workflow!r} has one run at a time, and run {run!r} would wait for itself: "
            "do not wait, with start_workflow, or let there be more by the option 'concurrency'"
        )
        self.workflow, self.run = workflow, run


class WorkflowFailed(FlowdaptError):
    """A workflow that a stage called did not finish.

    :ivar run: the name of its run
    :ivar uid: of its run
    :ivar workflow: its name
    :ivar type: of what ended it, such as ``ValueError``, or ``RunCancelled``
    :ivar message: of that
    """

    def __init__(self, run: str, uid: UUID, workflow: str, type: str, message: str) -> None:  # noqa: A002
        super().__init__(f"run {run!r} of workflow {workflow!r} failed: {type}: {message}")
        self.run, self.uid, self.workflow = run, uid, workflow
        self.type, self.message = type, message

    def __reduce__(self) -> tuple[Any, ...]:
        facts = self.run, self.uid, self.workflow, self.type, self.message
        return WorkflowFailed, facts
