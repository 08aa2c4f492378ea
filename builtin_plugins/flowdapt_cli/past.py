"""A run of a server as it was: what it began with, and how far its stages came."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowdapt.errors import ResourceNotFound
from flowdapt.resources import Workflow
from flowdapt_cli.errors import CommandError
from flowdapt_cli.output import note

if TYPE_CHECKING:
    from flowdapt.client import Client, Run
    from flowdapt.runs import Failure, StageRecord

NOT_FOUND, FORBIDDEN = 404, 403


@dataclass(frozen=True)
class Past:
    """What a server knows of a run.

    :param records: by stage, of those that began
    :param failed: elements that failed, by stage, in their order
    """

    run: Run
    workflow: Workflow
    records: dict[str, StageRecord]
    failed: dict[str, list[int]]

    @classmethod
    def of(cls, client: Client, name: str) -> Past:
        """Ask a server for all of it.

        :raises ResourceNotFound: there is no such run, or its workflow is gone
        """
        run = client.runs.get(name)
        records = {record.stage: record for record in client.runs.stages(run)}
        failed: dict[str, list[int]] = {}
        some = any(record.items for record in records.values())
        for item in client.runs.items(run, state="failed") if some else ():
            failed.setdefault(item.stage, []).append(item.item)
        return cls(run, workflow_of(client, run), records, failed)

    def failed_stage(self) -> str:
        """Return the stage that the run failed in, or the first that left out elements.

        :raises CommandError: there is none
        """
        if self.run.failure is not None and self.run.failure.stage is not None:
            return self.run.failure.stage
        if self.failed:
            return next(iter(self.failed))
        raise CommandError(
            f"no stage of run {self.run.name!r} failed (it is {self.run.state}); "
            f"name one with --stage: {', '.join(s.name for s in self.workflow.spec.stages)}"
        )

    def failed_item(self, stage: str) -> int | None:
        """Return the first element of a stage that failed, if it was one."""
        failure = self.failure(stage)
        if failure is not None and failure.item is not None:
            return failure.item
        return min(self.failed.get(stage, ()), default=None)

    def failure(self, stage: str, item: int | None = None) -> Failure | None:
        """Return why a stage failed, or an element of it, if that is known."""
        if (record := self.records.get(stage)) is None:
            return None
        known = (*((record.failure,) if record.failure else ()), *record.failures)
        return next((f for f in known if item is None or f.item == item), None)


def workflow_of(client: Client, run: Run) -> Workflow:
    """Return the workflow as the run began with it; or as it is now, and say so.

    :raises ResourceNotFound: it is gone
    """
    with suppress(ResourceNotFound):  # as of a run of an earlier release
        return client.runs.definition(run)
    named = run.workflow_uid or run.workflow
    try:
        changes = client.workflows.history(named)
    except ResourceNotFound:
        changes = []
    earlier = [one for one in changes if one.time <= run.started_at and one.resource is not None]
    if earlier and earlier[-1].resource is not None:
        return earlier[-1].resource
    try:
        workflow = client.workflows.get(named)
    except ResourceNotFound:
        raise ResourceNotFound("workflow", run.workflow) from None
    note(f"how workflow {run.workflow} was when the run began is not kept; taking it as it is now")
    return workflow
