"""Runs a workflow on the server in this process, and shows how it goes."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

from flowdapt.errors import ResourceNotFound, nearest
from flowdapt.resources import Workflow
from flowdapt_cli.output import Form, note
from flowdapt_cli.progress import Stages
from flowdapt_cli.reports import line, report

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from flowdapt.engine import Engine

PAUSE_SECONDS = 0.1  #: between two looks at a run
FIRST_SECONDS = 0.01  #: the first pause, so that a short run is not waited for


async def run_here(
    engine: Engine, name: str, values: Mapping[str, Any], *, bars: bool, form: Form
) -> int:
    """Run a workflow and report its end; return the program's status.

    :param bars: draw how the stages go on, and what they write
    :raises FlowdaptError: it cannot be run
    """
    try:
        workflow = await engine.get(Workflow, name)
    except ResourceNotFound as error:
        names = [workflow.name for workflow in await engine.list(Workflow)]
        error.args = (f"{error}{nearest(name, names)}",)
        raise
    run = await engine.submit(workflow.metadata.uid, dict(values), source="manual")
    note(f"run {run.name}")
    # What stages write in this process must not come between a script and the result.
    with redirect_stdout(sys.stdout if form == "table" else sys.stderr):
        if bars:
            await _follow(engine, run.uid, [stage.name for stage in workflow.spec.stages])
        ended = await engine.wait(run.uid)
    view = ended.run.model_dump(mode="json") | {"result": json.loads(ended.result or b"null")}
    stages = [record.model_dump(mode="json") for record in await engine.stages(run.uid)]
    return report(view, stages, form)


async def _follow(engine: Engine, run: UUID, names: list[str]) -> None:
    """Draw how a run goes on, until it ends."""
    end = asyncio.create_task(engine.wait(run))
    pause, read = FIRST_SECONDS, 0
    with Stages(names) as drawn:
        while True:
            done, _ = await asyncio.wait([end], timeout=pause)
            drawn.show([record.model_dump(mode="json") for record in await engine.stages(run)])
            blocks = await engine.read_log(run, after=read)
            read = max(blocks, default=read)
            for block in blocks.values():
                for record in block.lines.splitlines():
                    note(line({"stage": block.stage, **json.loads(record)}))
            if done and not blocks:
                return
            pause = min(PAUSE_SECONDS, pause * 1.5)
