"""Targets, looked up where stages are computed."""

from __future__ import annotations

from collections.abc import Sequence

from flowdapt import stages
from flowdapt.errors import StageError


def problems_of(targets: Sequence[str]) -> dict[str, StageError]:
    """Import targets; return what is wrong, by target, without what cannot be pickled."""
    problems: dict[str, StageError] = {}
    for target in targets:
        try:
            stages.resolve(target)
        except StageError as error:
            error.__cause__ = error.__context__ = error.__traceback__ = None
            problems[target] = error
    return problems
