"""Runs that a server left unfinished, and what of them needs not be done again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from pydantic import ValidationError

from flowdapt.errors import ResourceNotFound, StageError
from flowdapt.resources import Workflow
from flowdapt.runs import Failure, Run, StageRecord
from flowdapt.storage import Storage
from flowdapt.texts import to_json

RECOVERIES = ("resume", "restart", "fail")  #: what a workflow may say, of which the first is meant
MOST_RESUMED = 100  #: how often a run is gone on with, as it may be what ends the servers
DEFINITION = "definition/"  #: begins the keys under which workflows are, as runs began with them


class ServerStopped(StageError):
    """A run was in progress when its server stopped, and nobody goes on with it."""

    def __init__(self, reason: str = "the server stopped while this run was in progress") -> None:
        super().__init__(reason)

    @property
    def failure(self) -> Failure:
        """What is kept of it."""
        return Failure(type="ServerStopped", message=str(self))


@dataclass(frozen=True, slots=True)
class Earlier:
    """What an earlier server did of a run.

    :param records: of stages that ended, by name
    :param chunks: what came of elements, by stage
    """

    records: Mapping[str, StageRecord] = field(default_factory=dict)
    chunks: dict[str, Sequence[bytes]] = field(default_factory=dict)


def recovers(workflow: Workflow) -> str:
    """Return what becomes of runs that a server leaves unfinished."""
    return str(workflow.spec.options.get("recovery", RECOVERIES[0]))


async def define(storage: Storage, workflow: Workflow) -> str:
    """Keep a workflow as a run begins with it; return its name, empty where it cannot be kept."""
    if any(callable(stage.target) for stage in workflow.spec.stages):
        return ""
    text = to_json(workflow.model_dump(mode="json"))
    name = sha256(text).hexdigest()[:32]
    await storage.save_blob(DEFINITION + name, text)
    return name


async def definition(storage: Storage, run: Run) -> Workflow:
    """Return the workflow as a run began with it.

    :raises ResourceNotFound: it was not kept
    """
    text = await storage.load_blob(DEFINITION + run.definition) if run.definition else None
    if text is None:
        raise ResourceNotFound("definition", run.workflow)
    return Workflow.model_validate(json.loads(text))


async def recover(
    storage: Storage, run: Run, known: dict[str, Workflow]
) -> tuple[Workflow, Earlier]:
    """Return with what to go on with a run.

    :param known: definitions that were read before
    :raises ServerStopped: it is not gone on with
    """
    try:
        workflow = known.get(run.definition) or await definition(storage, run)
        known[run.definition] = workflow
        if recovers(workflow) == "fail":
            raise ServerStopped
        if run.resumed >= MOST_RESUMED:
            raise ServerStopped(
                f"the server ended {run.resumed + 1} times while this run was in progress"
            )
        return workflow, await earlier(storage, run, workflow)
    except ResourceNotFound:
        raise ServerStopped from None
    except ValidationError as error:  # of a release that knew more, or less
        raise ServerStopped(f"what is stored of this run cannot be understood: {error}") from None


async def earlier(storage: Storage, run: Run, workflow: Workflow) -> Earlier:
    """Return what is stored of a run, unless it is to be begun anew."""
    chunks = dict(await storage.list_chunks(run.uid))
    if recovers(workflow) != "restart":
        records = {record.stage: record for record in await storage.list_stages(run.uid)}
        return Earlier(records, chunks)
    for stage in chunks:
        await storage.save_chunk(run.uid, stage, None)
    return Earlier()
