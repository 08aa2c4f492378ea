"""How many elements of a parameterized stage may fail."""

from __future__ import annotations

from typing import Any

from flowdapt.errors import StageError
from flowdapt.executors import Outcome
from flowdapt.policies import Compute
from flowdapt.resources import Stage
from flowdapt.walks import Walk
from flowdapt_policies.options import OptionPolicy


class TooManyFailed(StageError):
    """More elements failed than a stage allows."""

    def __init__(self, stage: str, outcome: Outcome, least: float) -> None:
        first = outcome.failures[0] if outcome.failures else None
        said = f"; the first: {first.type}: {first.message}" if first else ""
        super().__init__(
            f"{outcome.items_failed} of {outcome.items} elements of stage {stage!r} failed, and "
            f"its option 'min_success' is {least:g}{said}"
        )


class Thresholds(OptionPolicy):
    """Fails a stage of whose elements too few succeed."""

    order = 10
    stage_options = ("min_success",)

    def read(self, key: str, value: Any, stage: Stage | None) -> float:
        """Return the fraction of elements that have to succeed."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise ValueError(f"{key!r} is {value!r}, and must be between 0 and 1, such as 0.95")
        if stage is not None and not stage.allow_partial_failure:
            raise ValueError(f"{key!r} means nothing where 'allow_partial_failure' is false")
        return float(value)

    async def stage(self, walk: Walk, stage: Stage, compute: Compute) -> Outcome:
        """Count what failed once all elements are computed."""
        del walk
        least = self.read("min_success", stage.options["min_success"], None)
        outcome = await compute()
        if outcome.items and 1 - outcome.items_failed / outcome.items < least:
            raise TooManyFailed(stage.name, outcome, least)
        return outcome
