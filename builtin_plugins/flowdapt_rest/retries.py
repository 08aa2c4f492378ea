"""Runs that repeat others: whole, or for the elements that failed alone."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from flowdapt.errors import ResourceError
from flowdapt.resources import Stage, Workflow
from flowdapt.runs import Run, Selection, StageRecord

if TYPE_CHECKING:
    from uuid import UUID

    from flowdapt.engine import Engine


class RunNotEnded(ResourceError):
    """A run is in progress, and what is asked for needs its end."""

    def __init__(self, run: str) -> None:
        super().__init__(f"run {run!r} is in progress; wait for its end, or cancel it")
        self.run = run


class NothingToRetry(ResourceError):
    """A run has no failed elements that could be computed again."""


async def retry(
    engine: Engine,
    name: str | UUID,
    *,
    failed_items: bool = False,
    by: str = "",
    uid: UUID | None = None,
) -> Run:
    """Start a new run with the workflow and the input of one that has ended.

    The workflow and the configs are taken as they are now.

    :param failed_items: compute only the elements that failed, and what depends on them
    :param uid: of the new run, if that is to be known before it begins
    :raises ResourceNotFound: there is no such run, or its workflow was deleted
    :raises RunNotEnded: it is still in progress
    :raises NothingToRetry: no element failed, or its stage is not what it was
    """
    first = await engine.find_run(name)
    if not first.state.final:
        raise RunNotEnded(first.name)
    workflow = await engine.get(Workflow, first.workflow_uid or first.workflow)
    facts: dict[str, Any] = {"retry_of": first.uid} | ({"uid": uid} if uid else {})
    if failed_items:
        types = {name for name, known in engine.types.items() if known.mapped}
        mapped = [stage.name for stage in workflow.spec.stages if stage.type in types]
        records = await engine.storage.list_stages(first.uid)
        facts["only"] = selections(workflow, records, first, mapped=mapped)
    facts["namespace"] = first.namespace
    return await engine.submit(workflow.metadata.uid, first.input, by=by, **facts)


def selections(
    workflow: Workflow, records: Sequence[StageRecord], run: Run, *, mapped: Collection[str]
) -> dict[str, Selection]:
    """Return what stages have to compute so that failed elements are computed again.

    Where a stage maps over the results of another one that maps, its failed elements are asked of
    that one, and so on up to the list that was not computed element by element. An element has one
    index in all of these.

    :param records: how the stages of the first run went
    :param run: the first run; it may have been such a retry itself
    :param mapped: names of the stages that map
    :raises NothingToRetry: no element failed, or its stage is not in the workflow any more, or maps
        over another one now
    """
    stages = {stage.name: stage for stage in workflow.spec.stages}
    known = {record.stage: record for record in records}
    wanted: dict[str, set[int]] = {}
    for record in records:
        if not record.failed_items or record.items_done < (record.items or 0):
            continue  # one that did not get through its elements is computed whole
        if record.stage not in mapped:
            raise NothingToRetry(
                f"elements of stage {record.stage!r} failed, and workflow {workflow.name!r} has no "
                "such parameterized stage any more: retry the whole run"
            )
        stage = stages[record.stage]
        while (above := _mapped_over(stage, mapped)) is not None:
            if above not in known or known[above].items is None:
                raise NothingToRetry(
                    f"stage {stage.name!r} maps over stage {above!r} now, of which run "
                    f"{run.name!r} computed no elements: retry the whole run"
                )
            stage = stages[above]
        failed = (failed.item for failed in record.failed_items)
        wanted.setdefault(stage.name, set()).update(failed)
    if not wanted:
        raise NothingToRetry(f"no element of run {run.name!r} failed: retry the whole run")
    return {
        name: Selection(of=_count(known[name], run), items=tuple(sorted(items)))
        for name, items in wanted.items()
    }


def _mapped_over(stage: Stage, mapped: Collection[str]) -> str | None:
    """Return the mapped stage whose results a stage maps over, if there is one."""
    over = None if stage.map_on else next(iter(stage.depends_on), None)
    return over if over in mapped else None


def _count(record: StageRecord, run: Run) -> int:
    only = run.only.get(record.stage)
    return (record.items or 0) if only is None else only.of
