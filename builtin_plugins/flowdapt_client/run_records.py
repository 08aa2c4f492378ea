"""What a server answers about runs, as frozen models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from pydantic import ConfigDict, Field

from flowdapt import runs
from flowdapt.resources import Model, Timestamp
from flowdapt_client.errors import RunFailed
from flowdapt_client.reading import read


class Run(runs.Run):
    """One run of a workflow, with what came out."""

    result_bytes: int = Field(0, description="The size of the result, also where it is left out.")
    result: Any = Field(None, description="Left out of lists and events where it is large.")

    def value(self) -> Any:
        """Return the result.

        :raises RunFailed: there is none, because the run failed or was cancelled
        """
        if self.state in (runs.RunState.FAILED, runs.RunState.CANCELLED):
            why = self.failure or runs.Failure(type="RunCancelled", message="it was cancelled")
            raise RunFailed(self.name, self.state, why.type, why.message, why.traceback)
        return self.result


class ItemsFailure(Model):
    """Why a run has no result."""

    type: str
    message: str
    stage: str | None = None


class ItemsEnd(Model):
    """How a run ended whose items came as a stream."""

    state: runs.RunState
    uid: UUID
    name: str
    items: int
    error: ItemsFailure | None = None


class LogLine(Model):
    """A line that a stage wrote."""

    model_config = ConfigDict(extra="allow")

    stage: str
    time: str | None = None
    stream: str | None = Field(None, description="`stdout` or `stderr`; absent for log records.")
    level: str | None = None
    logger: str | None = None
    message: str = ""
    item: int | None = Field(None, description="Index of the element that was being computed.")


class LogBlock(Model):
    """Lines that one process wrote for one stage."""

    position: int
    stage: str
    lines: tuple[Mapping[str, Any], ...]

    def each(self) -> list[LogLine]:
        """Return the lines with what they have in common."""
        return [read(LogLine, {"stage": self.stage, **line}) for line in self.lines]


class LogPage(Model):
    """Some of a log, and where to go on."""

    blocks: tuple[LogBlock, ...]
    next: int


class RunItem(Model):
    """An element of a parameterized stage, and what it raised if it failed."""

    stage: str
    item: int = Field(description="Its index in the first list that was mapped over.")
    state: str = Field("failed", description="`finished` or `failed`.")
    attempts: int = 1
    seconds: float | None = Field(
        None, description="Of the last attempt; absent if nobody saw that, as its worker died."
    )
    type: str = ""
    message: str = ""
    traceback: str = Field("", description="Kept of the first few that failed.")


class ItemPage(Model):
    """Some items, and where to go on."""

    items: tuple[RunItem, ...]
    next: int | None = None


class ItemSeconds(Model):
    """How long the elements of a stage took, each in its last attempt."""

    least: float
    median: float
    p95: float
    most: float


class ItemSummary(Model):
    """What the elements of a parameterized stage come to."""

    stage: str
    state: runs.RunState
    count: int = Field(description="As far as it is known yet.")
    done: int = Field(description="Those included that failed.")
    failed: int
    seconds: ItemSeconds | None = Field(None, description="Absent until the stage has ended.")


class Transition(Model):
    """A run, or a stage of it, became something else."""

    at: Timestamp
    stage: str | None = Field(None, description="Absent of the run itself.")
    state: str = Field(
        description="Of a stage also `ready`: no worker has it yet; of a run also `resumed`."
    )
    attempt: int | None = None
    worker: str | None = None
    node: str | None = Field(None, description="The machine of the worker.")
    plugin_set: str = ""


class RunHistory(Model):
    """What happened to a run, in the order of time."""

    run: UUID
    used: dict[str, float] = Field(
        default_factory=dict,
        description="What its stages used together, each named with its unit; of peaks the most.",
    )
    transitions: tuple[Transition, ...] = ()


class RunPage(Model):
    """Some runs, and where to go on."""

    runs: tuple[Run, ...]
    next: str | None = None
