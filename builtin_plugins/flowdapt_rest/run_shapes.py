"""What goes over the wire about runs, as types; see :mod:`flowdapt_rest.shapes`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, NotRequired
from uuid import UUID

from pydantic import ConfigDict, Field, WithJsonSchema
from typing_extensions import TypedDict  # pydantic reads no other before Python 3.12

from flowdapt.runs import Run, RunState
from flowdapt_rest.shapes import Moment
from flowdapt_rest.versions import V1ALPHA1

#: The states that published clients know; they refuse others.
PUBLISHED = (RunState.PENDING, RunState.RUNNING, RunState.FINISHED, RunState.FAILED)


class RunV1alpha1(TypedDict):
    """One run of a workflow."""

    uid: UUID
    name: str
    workflow: str
    source: str | None
    started_at: Moment
    finished_at: NotRequired[Moment]
    state: Annotated[str, WithJsonSchema({"type": "string", "enum": [*PUBLISHED]})]
    result: NotRequired[Any]


class RunV1(Run):
    """One run of a workflow."""

    model_config = ConfigDict(
        defer_build=True,
        json_schema_extra=lambda schema: schema["required"].remove("result"),
    )

    result: Any = Field(None, description="Absent where there is none, or a list leaves it out.")
    result_bytes: int = Field(description="The size of the result, also where it is left out.")


def run(version: str) -> Any:
    """Return what a reply shows of a run."""
    return RunV1alpha1 if version == V1ALPHA1 else RunV1


class RunPage(TypedDict):
    """A part of a list of runs, and the cursor to go on with, if there are more."""

    runs: list[RunV1]
    next: UUID | None


def run_page(version: str) -> Any:
    """Return what a list shows of a workflow's runs."""
    return list[RunV1alpha1] if version == V1ALPHA1 else RunPage


class Item(TypedDict):
    """An element of a parameterized stage: what became of it, and what it raised if it failed.

    The traceback is kept of the first few of each stage.

    :ivar item: its index in the first list that was mapped over
    :ivar seconds: of its last attempt; null where nobody saw that, as its worker died over it
    """

    stage: str
    item: int
    state: Annotated[str, WithJsonSchema({"type": "string", "enum": ["finished", "failed"]})]
    attempts: int
    seconds: float | None
    type: NotRequired[str]
    message: NotRequired[str]
    traceback: NotRequired[str]


class ItemSeconds(TypedDict):
    """How long the elements of a stage took, each in its last attempt."""

    least: float
    median: float
    p95: float
    most: float


class ItemSummary(TypedDict):
    """What the elements of a parameterized stage come to.

    :ivar count: how many there are, as far as that is known yet
    :ivar done: that were computed so far, those included that failed
    :ivar seconds: null until the stage has ended
    """

    stage: str
    state: RunState
    count: int
    done: int
    failed: int
    seconds: ItemSeconds | None


class ItemPage(TypedDict):
    """A part of a list of elements, and the position to go on from, if there are more."""

    items: list[Item]
    next: int | None


class Restart(TypedDict):
    """All items so far are void: their stage begins anew, and yields them again."""

    items: int


class ItemsFailure(TypedDict):
    """Why a run has no result, or why there are no more items of it here."""

    type: str
    message: str
    stage: NotRequired[str | None]


class ItemsEnd(TypedDict):
    """How a run ended of which all items were told."""

    state: RunState
    uid: UUID
    name: str
    items: int
    error: NotRequired[ItemsFailure]


class ItemLine(TypedDict):
    """A line about a run: it has one of these at most."""

    item: NotRequired[Any]
    restart: NotRequired[Restart]
    end: NotRequired[ItemsEnd]
    error: NotRequired[ItemsFailure]


class Transition(TypedDict):
    """A run, or a stage of it, became something else.

    :ivar stage: absent of the run itself
    :ivar state: of a stage, also `ready`: its inputs are there, and no worker has it yet; of a run,
        also `resumed`: a server that was started anew went on with it
    :ivar attempt: counts from 1; absent where none has begun, like `worker` and `node`
    """

    at: Moment
    stage: str | None
    state: Literal[
        "ready", "running", "finished", "failed", "cancelled", "pending", "skipped", "resumed"
    ]
    attempt: int | None
    worker: str | None
    node: str | None
    plugin_set: str


class RunHistory(TypedDict):
    """What happened to a run, in the order of time, and what its stages used together.

    :ivar used: sums by name, each of which ends in its unit; of peaks the highest
    """

    run: UUID
    used: dict[str, float]
    transitions: list[Transition]


class LogPart(TypedDict):
    """Lines that one process wrote for one stage, in order."""

    position: int
    stage: str
    lines: Sequence[Any]


class Log(TypedDict):
    """A part of a run's log, and the position to go on from."""

    blocks: list[LogPart]
    next: int
