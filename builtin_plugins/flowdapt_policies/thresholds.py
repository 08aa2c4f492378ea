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

    def __init__(self, stage: str, outcome: Outcome, count: int, least: float) -> None:
        first = outcome.failures[0] if outcome.failures else None
        said = f"; the first: {first.type}: {first.message}" if first else ""
        super().__init__(
            f"{outcome.items_failed} of {count} elements of stage {stage!r} failed, and "
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
        """Count what failed once all elements are computed.

        Where these are some of a list whose others succeeded before, the whole list counts.
        """
        least = self.read("min_success", stage.options["min_success"], None)
        outcome = await compute()
        only = walk.run.only.get(stage.name)
        count = outcome.items if only is None else only.of
        if count and 1 - outcome.items_failed / count < least:
            raise TooManyFailed(stage.name, outcome, count, least)
        return outcome
