"""How many runs of a workflow there may be at once."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any
from uuid import UUID

from flowdapt.engine import Engine
from flowdapt.errors import Conflict, FlowdaptError
from flowdapt.executors import Outcome
from flowdapt.policies import Compute
from flowdapt.resources import Stage, Workflow
from flowdapt.runs import Run
from flowdapt.walks import Walk
from flowdapt_policies.options import OptionPolicy, one_of

WORDS = ("allow", "forbid", "queue", "replace")


class RunRefused(Conflict):
    """A run of the workflow is in progress, and no other is to begin beside it."""

    def __init__(self, workflow: str) -> None:
        super().__init__(
            f"workflow {workflow!r} has a run in progress, and its option 'concurrency' is "
            "'forbid'; wait for its end, or use 'queue' or 'replace'"
        )


class Admission(OptionPolicy):
    """Lets one run of a workflow be computed at a time, where its option says so."""

    order = -30
    workflow_options = ("concurrency",)

    engine: Engine | None  #: without one, there are no other runs

    def read(self, key: str, value: Any, stage: Stage | None) -> str:
        """Return the word."""
        del stage
        return one_of(key, value, WORDS)

    def admit(self, workflow: Workflow, run: Run) -> bool:
        """Refuse a run, or have it wait, where another one is in progress."""
        word, others = workflow.spec.options["concurrency"], self._others(run)
        if word == "forbid" and others:
            raise RunRefused(workflow.name)
        return word in ("allow", "forbid") or not others

    async def run(self, walk: Walk, compute: Compute) -> Outcome:
        """Wait for the turn of a run, or end those that came before."""
        word = walk.workflow.spec.options["concurrency"]
        if self.engine is not None and word in ("queue", "replace"):
            await self._alone(self.engine, walk.run, word)
        return await compute()

    async def _alone(self, engine: Engine, run: Run, word: str) -> None:
        while before := self._before(engine, run):
            with suppress(FlowdaptError):
                if word == "replace":
                    await asyncio.gather(*map(engine.cancel, before))
                else:
                    await engine.wait(before[-1])
            await asyncio.sleep(0)  # whoever ended is not in progress any more

    # Asked of the engine and never counted, so that nothing has to be given back.

    def _others(self, run: Run) -> list[UUID]:
        if self.engine is None:
            return []
        return [uid for uid in self.engine.in_progress(run.workflow_uid) if uid != run.uid]

    def _before(self, engine: Engine, run: Run) -> list[UUID]:
        runs = engine.in_progress(run.workflow_uid)
        return runs[: runs.index(run.uid)]
