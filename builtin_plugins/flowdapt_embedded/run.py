"""A whole flowdapt inside the calling process, without a server, for scripts and notebooks."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID

from flowdapt_workers.failures import original
from flowdapt_workers.inline import InlineExecutor
from flowdapt_workers.rules import rules

from flowdapt.errors import InvalidResource
from flowdapt.executors import Executor, Host, StageFailed
from flowdapt.plugins import Plugins, offered
from flowdapt.resources import Workflow
from flowdapt.runs import Run, RunState, named_values
from flowdapt.storage import LogBlock
from flowdapt.walks import Walk
from flowdapt_embedded.memory import MemoryStorage


def run(
    workflow: Workflow | Mapping[str, Any] | str | Path,
    input: Mapping[str, Any] | None = None,  # noqa: A002 - the word that users know
    *,
    config: Mapping[str, Any] | None = None,
    namespace: str = "default",
    executor: str | Executor = "inline",
) -> Any:
    """Run a workflow in this process, without a server, and return its result.

    Targets are imported as the process imports anything else; further places are looked in last:
    the folder of the workflow's file, and the application directory (``FLOWDAPT__APP_DIR``, or
    ``~/.flowdapt``) for its ``user_modules``.

    :param workflow: a workflow, the same as plain data, or the path of a file with one; the target
        of a stage may be a function
    :param input: what stages without dependencies receive as keyword arguments
    :param config: what stages find as ``get_run_context().config``
    :param executor: ``inline`` computes in this thread, where breakpoints stop; another name, such
        as ``local``, starts that executor for the duration of the call
    :return: what the last stage returned, as it is
    :raises InvalidResource: the workflow is not valid
    :raises Exception: what a stage raised, itself where it could be brought here
    """
    _extend_path(workflow)
    work = _run(_workflow(workflow), input, config, namespace, executor)
    if not _in_a_loop():
        return asyncio.run(work)
    with ThreadPoolExecutor(1, "flowdapt") as thread:  # a notebook runs a loop of its own
        return thread.submit(asyncio.run, work).result()


def _extend_path(workflow: object) -> None:
    app_dir = Path(os.environ.get("FLOWDAPT__APP_DIR", "~/.flowdapt")).expanduser()
    places = [app_dir] if (app_dir / "user_modules").is_dir() else []
    if isinstance(workflow, str | Path):
        places.insert(0, Path(workflow).parent)
    sys.path += [path for path in map(str, map(Path.absolute, places)) if path not in sys.path]


def _in_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _workflow(given: Workflow | Mapping[str, Any] | str | Path) -> Workflow:
    if isinstance(given, Workflow):
        return given
    if isinstance(given, Mapping):
        data = {"metadata": {"name": "workflow"}, **given}
        return Workflow.parse(data, where="workflow", strict=True)
    read = Plugins.load(cache_dir=None).resolve("readers", "files")
    found = [d for d in read(Path(given)) if d.data.get("kind") == "workflow"]
    if len(found) != 1:
        raise InvalidResource.at(str(given), (), f"holds {len(found)} workflows, and must hold one")
    return Workflow.parse(found[0].data, where=found[0].where, strict=True)


async def _run(
    workflow: Workflow,
    values: Mapping[str, Any] | None,
    config: Mapping[str, Any] | None,
    namespace: str,
    executor: str | Executor,
) -> Any:
    plugins = None
    if isinstance(executor, Executor):
        made = executor
    elif executor == "inline":
        made = InlineExecutor()
    else:
        plugins = Plugins.load(cache_dir=None)
        made = plugins.resolve("executors", executor)()
    types, policies = await rules(workflow, plugins)
    run = Run(
        workflow=workflow.name,
        namespace=namespace,
        source="manual",
        input=named_values(values),
        config=dict(config or {}),
    ).to(RunState.RUNNING)
    storage = MemoryStorage()
    await storage.add_run(run)
    places = offered("exports", "places")()
    walk = Walk(run, workflow, storage, made, types, policies=policies, places=places)
    with tempfile.TemporaryDirectory(prefix="flowdapt-") as folder:
        await made.start(Host(app_dir=Path(folder), places=places, on_log=_print))
        try:
            return await made.fetch((await walk.begin()).ref)
        except StageFailed as error:
            failed = error
        finally:
            await made.release(run.uid)
            await made.stop()
    raise original(failed)  # out here, so that its cause and context stay as they are


def _print(_: UUID, block: LogBlock) -> None:
    """Show what a stage wrote in another process, where the script's own output goes."""
    for line in block.lines.splitlines():
        record = json.loads(line)
        stream = sys.stdout if record.get("stream") == "stdout" else sys.stderr
        print(record.get("message", ""), file=stream)
