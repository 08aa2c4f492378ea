"""What becomes of runs that a server leaves unfinished, and of those that have ended."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any
from uuid import UUID

from flowdapt_workers.parts import archive

from flowdapt.context import Address
from flowdapt.engine import Engine
from flowdapt.errors import FlowdaptError
from flowdapt.executors import Outcome
from flowdapt.objects import Artifacts, attached
from flowdapt.policies import Compute
from flowdapt.recovery import RECOVERIES
from flowdapt.resources import Stage
from flowdapt.walks import Walk
from flowdapt_policies.options import OptionPolicy, one_of, seconds


class Recovery(OptionPolicy):
    """Checks the option; the engine follows it."""

    workflow_options = ("recovery",)

    def read(self, key: str, value: Any, stage: Stage | None) -> str:
        """Return the word."""
        del stage
        return one_of(key, value, RECOVERIES)


class Durable(OptionPolicy):
    """Removes what executors have kept of large results among the artifacts, once it is of no use.

    What is left where the server is killed just then is removed with the next such run.
    """

    workflow_options = ("durable",)

    def __init__(self, engine: Engine | None) -> None:
        super().__init__(engine)
        self._cleaning: set[asyncio.Task[None]] = set()

    def read(self, key: str, value: Any, stage: Stage | None) -> bool:
        """Return whether large results are kept."""
        del stage
        if not isinstance(value, bool):
            raise ValueError(f"{key!r} is {value!r}, and must be true or false")
        return value

    async def run(self, walk: Walk, compute: Compute) -> Outcome:
        """Compute the stages, and clean up once the run's end is stored."""
        if self.engine is not None and walk.durable and walk.places and walk.places.artifacts:
            task = asyncio.create_task(self._clean_up(walk.run.uid, walk.places.artifacts))
            self._cleaning.add(task)
            task.add_done_callback(self._cleaning.discard)
        return await compute()

    async def _clean_up(self, run: UUID, place: Address) -> None:
        assert self.engine is not None  # noqa: S101 - asked before
        with suppress(FlowdaptError):  # the server stops, and another one goes on
            await self.engine.wait(run)
            await asyncio.to_thread(_clear, attached(place), archive(run.hex))


def _clear(artifacts: Artifacts, namespace: str) -> None:
    for entry in [*artifacts.list(namespace)]:
        artifacts.delete(namespace, entry.key)


class Retention(OptionPolicy):
    """Checks the option; the service ``retention`` follows it."""

    workflow_options = ("retention",)

    def read(self, key: str, value: Any, stage: Stage | None) -> float:
        """Return seconds."""
        del stage
        return seconds(key, value)
