"""Which elements a run computes that repeats another one for its failed elements alone."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from flowdapt.errors import NothingToRetry
from flowdapt.resources import Stage, Workflow
from flowdapt.runs import Run, Selection, StageRecord


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
        if not record.failed_items:
            continue
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
