"""How long a run may take, and a stage with all its attempts and elements."""

from __future__ import annotations

import asyncio
from typing import Any

from flowdapt.errors import RunCancelled, StageError
from flowdapt.executors import Outcome
from flowdapt.policies import Compute
from flowdapt.resources import Stage, now
from flowdapt.walks import Walk
from flowdapt_policies.options import OptionPolicy, seconds


class TimedOut(StageError):
    """A run or a stage took longer than it may."""

    def __init__(self, what: str, limit: float) -> None:
        unit = "second" if limit == 1 else "seconds"
        super().__init__(f"{what} took longer than its time limit of {limit:g} {unit}")


class Limits(OptionPolicy):
    """Stops what takes too long. The limit of one attempt is the executor's: see ``timeout``."""

    order = -10
    stage_options = ("total_timeout",)
    workflow_options = ("timeout",)

    def read(self, key: str, value: Any, stage: Stage | None) -> float:
        """Return seconds."""
        del stage
        return seconds(key, value)

    async def run(self, walk: Walk, compute: Compute) -> Outcome:
        """Fail a run that takes too long; where it was gone on with, the time before counts."""
        limit = seconds("timeout", walk.workflow.spec.options["timeout"])
        before = [record.started_at for record in walk.earlier.records.values()]
        gone = (now() - min(before)).total_seconds() if before else 0.0  # without time in a queue
        try:
            async with asyncio.timeout(max(0.0, limit - gone)) as within:
                return await compute()
        except (TimeoutError, RunCancelled):  # as which executors may tell of it
            if not within.expired():
                raise
            await walk.executor.cancel(walk.run.uid)
            raise TimedOut(f"run {walk.run.name!r}", limit) from None

    async def stage(self, walk: Walk, stage: Stage, compute: Compute) -> Outcome:
        """Fail a stage that takes too long."""
        limit = seconds("total_timeout", stage.options["total_timeout"])
        try:
            async with asyncio.timeout(limit) as within:
                return await compute()
        except (TimeoutError, RunCancelled):  # as which executors may tell of it
            if not within.expired():
                raise
            await walk.executor.cancel(walk.run.uid, stage.name)
            raise TimedOut(f"stage {stage.name!r}", limit) from None
