"""A server that is killed while a stage waits for the run that it started."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from flowdapt.client import AsyncClient
from flowdapt.runs import RunState
from tests.plugins.cli.processes import free_port, serving

SECONDS = 60.0  #: until something that should happen counts as not happening

STAGES = """
    import time
    from pathlib import Path

    import flowdapt

    def noted(folder, what):
        with (Path(folder) / what).open("a") as file:
            file.write("x")

    def parent(folder):
        noted(folder, "parent")
        return ["got", flowdapt.call_workflow("child", {"folder": folder})]

    def child(folder):
        noted(folder, "child")
        while not (Path(folder) / "gate").exists():
            time.sleep(0.005)
        return "result"
"""


def workflow(name: str) -> dict[str, object]:
    stages = [{"name": name, "target": f"user_modules.calling.{name}"}]
    return {"kind": "workflow", "metadata": {"name": name}, "spec": {"stages": stages}}


async def until(condition: Callable[[], object]) -> None:
    """Ask again and again, as files tell nobody."""
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@pytest.mark.anyio
async def test_a_parent_ends_with_the_result_of_the_child_that_it_started_before(
    tmp_path: Path,
) -> None:
    modules, noted = tmp_path / "user_modules", tmp_path / "noted"
    modules.mkdir()
    noted.mkdir()
    (modules / "__init__.py").touch()
    (modules / "calling.py").write_text(dedent(STAGES))
    port = free_port()
    settings = "-o", f"rpc.api.port={port}", "-o", "services.compute.cpus=1"
    async with AsyncClient(f"127.0.0.1:{port}") as client:
        with serving(tmp_path, *settings):
            for name in ("parent", "child"):
                await client.workflows.create(workflow(name))
            run = await client.runs.start("parent", {"folder": str(noted)})
            await until((noted / "child").exists)  # and with the context, the server is killed
        with serving(tmp_path, *settings):
            await until(lambda: (noted / "child").read_text() == "xx")
            (noted / "gate").touch()

            ended = await asyncio.wait_for(client.runs.wait(run.uid), SECONDS)

            runs = [one async for one in client.runs.list()]
    assert (ended.state, ended.value()) == (RunState.FINISHED, ["got", "result"])
    (child,) = [one for one in runs if one.workflow == "child"]
    assert (child.parent, child.resumed, child.state) == (run.uid, 1, RunState.FINISHED)
    assert len(runs) == 2
