"""Targets, looked up where stages are computed."""

from __future__ import annotations

from collections.abc import Sequence

from flowdapt.errors import StageError
from flowdapt_workers import payloads
from flowdapt_workers.calls import Task, Value
from flowdapt_workers.targets import resolve

LOOKUPS = "lookups"  #: stands for a run, and for a stage, where targets are looked up


def task_of(targets: Sequence[str]) -> Task:
    """Return what has :func:`problems_of` called where stages are computed."""
    return Task(
        run=LOOKUPS,
        stage=LOOKUPS,
        target=f"{__name__}.problems_of",
        name="problems_of",
        type="flowdapt_workers.targets:Simple",
        options={},
        args=(Value(payloads.pack(payloads.dump(list(targets)))),),
    )


def problems_of(targets: Sequence[str]) -> dict[str, StageError]:
    """Import targets; return what is wrong, by target, without what cannot be pickled."""
    problems: dict[str, StageError] = {}
    for target in targets:
        try:
            resolve(target)
        except StageError as error:
            error.__cause__ = error.__context__ = error.__traceback__ = None
            problems[target] = error
    return problems
