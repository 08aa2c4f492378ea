"""A live server answers whatever is sent to it as its OpenAPI document says."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from flowdapt_artifacts.artifact import Artifact
from flowdapt_memory.owners import OwnMemory
from flowdapt_rest.service import RestService

from flowdapt.context import Address, Places
from flowdapt.plugins import Plugins
from flowdapt.server import Server

pytestmark = pytest.mark.anyio

SECONDS = 300  #: a machine that takes longer is stuck
EXAMPLES = 40  #: tries of each operation, beside those of all its limits
OPTIONS = [
    *("--max-examples", str(EXAMPLES)),
    *("--generation-deterministic", "--no-color"),
    # While the server drains, all runs are refused; other tests see to that.
    *("--exclude-operation-id", "drain"),
]


@pytest.fixture
async def url(server: Server, workflows: httpx.AsyncClient, tmp_path: Path) -> AsyncIterator[str]:
    """The address of a server with one of everything, each called `echo`."""
    # Routes of plugins are tried, too; not those over secrets, which do not say what goes in.
    server.plugins = Plugins.load(safe_mode=True, disabled=["flowdapt_secrets"])
    server.memory = OwnMemory(app_dir=tmp_path)
    options = json.dumps({"protocol": "file", "base_path": str(tmp_path)})
    store = Address("flowdapt_artifacts.store:Store", options)
    server.places = Places(server.memory.address, store)
    server.memory.put("echo", "echo", [b"echo"], size=4)
    artifact = Artifact.new_artifact("echo", "echo", "file", str(tmp_path))
    artifact.new_file("echo", b"echo")
    for kind in ("configs", "gardens"):
        given = {"metadata": {"name": "echo"}, "spec": {"data": {}}}
        assert (await workflows.post(f"/{kind}/", json=given)).status_code == 200
    service = RestService(server)
    await service.start()
    yield server.addresses["rest"]
    await service.stop()
    server.memory.close()


async def test_schemathesis_finds_nothing(
    url: str, workflows: httpx.AsyncClient, tmp_path: Path
) -> None:
    program = Path(sys.executable).with_name("schemathesis")
    run = (await workflows.post("/workflows/echo/run")).json()

    process = await asyncio.create_subprocess_exec(
        *(str(program), "run", f"{url}/openapi.json", *OPTIONS),
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": str(Path(__file__).parent),
            "SCHEMATHESIS_HOOKS": "fuzzing_hooks",
            "FUZZED_RUN": run["uid"],
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    async with asyncio.timeout(SECONDS):
        told, _ = await process.communicate()

    assert process.returncode == 0, told.decode()
