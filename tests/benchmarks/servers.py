"""Flowdapt under test: within this process, or as a process of its own on a free port."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
from flowdapt_cli.reading.settings import load

from flowdapt.engine import Engine
from flowdapt.plugins import Plugins
from flowdapt.resources import Workflow
from flowdapt.runs import RunState
from flowdapt.server import Server

HERE = Path(__file__).parent
START_SECONDS = 60.0  #: how long a server may take to answer
STOP_SECONDS = 20.0


def workflow(name: str, *stages: Mapping[str, Any]) -> dict[str, Any]:
    """Return a workflow as plain data."""
    return {"kind": "workflow", "metadata": {"name": name}, "spec": {"stages": list(stages)}}


def stage(name: str, function: str, *depends_on: str, **more: Any) -> dict[str, Any]:
    """Return a stage with one of our functions."""
    target = f"user_modules.stages.{function}"
    return {"name": name, "target": target, "depends_on": list(depends_on), **more}


NOOP = workflow("noop", stage("noop", "noop"))


@contextmanager
def app_dir() -> Iterator[Path]:
    """Yield a temporary application directory that holds our stage functions."""
    with tempfile.TemporaryDirectory(prefix="flowdapt-benchmark-") as folder:
        modules = Path(folder, "user_modules")
        modules.mkdir()
        (modules / "__init__.py").touch()
        shutil.copy(HERE / "stages.py", modules)
        yield Path(folder)


@asynccontextmanager
async def engine(
    *workflows: Mapping[str, Any], folder: Path | None = None
) -> AsyncIterator[Engine]:
    """Yield the engine of such a server as :func:`server` has."""
    async with server(*workflows, folder=folder) as made:
        yield made.engine


@asynccontextmanager
async def server(
    *workflows: Mapping[str, Any], folder: Path | None = None, overrides: Sequence[str] = ()
) -> AsyncIterator[Server]:
    """Yield a server without services: local executor, SQLite, real settings.

    :param overrides: settings, each as ``KEY=VALUE``
    """
    with app_dir() as made:
        settings = load(folder or made, "-", overrides=overrides, environ={})
        plugins = Plugins.load(cache_dir=made / "cache")
        async with Server(settings, plugins, only=frozenset()) as started:
            for one in workflows:
                await started.engine.create(Workflow, one)
            yield started


async def run(engine: Engine, name: str, **values: Any) -> bytes | None:
    """Run a workflow to its end and return the result as JSON text.

    :raises RuntimeError: it did not finish
    """
    begun = await engine.submit(name, values)
    ended = await engine.wait(begun.uid)
    if ended.run.state is not RunState.FINISHED:
        raise RuntimeError(f"{name} is {ended.run.state}: {ended.run.failure}")
    return ended.result


def free_port() -> int:
    """Return a port of the loopback interface that nobody uses at present."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Process:
    """A server in a process of its own.

    :param seconds: from its launch to its first answer
    """

    process: subprocess.Popen[bytes]
    address: str
    seconds: float

    def tree(self) -> list[psutil.Process]:
        """Return the process and all that it started."""
        root = psutil.Process(self.process.pid)
        return [root, *root.children(recursive=True)]


@contextmanager
def flowdapt(folder: Path, *overrides: str) -> Iterator[Process]:
    """Yield a ``flowdapt serve`` over an application directory.

    :param overrides: settings, each as ``KEY=VALUE``
    """
    port = free_port()
    chosen = (f"rpc.api.port={port}", "logging.level=warning", *overrides)
    options = ["-d", str(folder), *(part for one in chosen for part in ("-o", one))]
    command = [sys.executable, "-m", "flowdapt", *options, "serve"]
    with _process(command, port, "/ping", folder / "server.log") as process:
        yield process


@contextmanager
def bare(folder: Path) -> Iterator[Process]:
    """Yield a Starlette application that commits one SQLite row for each POST."""
    port = free_port()
    command = [sys.executable, str(HERE / "bare_server.py"), str(folder / "bare.db"), str(port)]
    with _process(command, port, "/", folder / "bare.log") as process:
        yield process


@contextmanager
def collector(folder: Path) -> Iterator[Process]:
    """Yield a collector of OpenTelemetry that keeps nothing."""
    port = free_port()
    command = [sys.executable, str(HERE / "bare_collector.py"), str(port)]
    with _process(command, port, "/", folder / "collector.log") as process:
        yield process


@contextmanager
def _process(command: Sequence[str], port: int, path: str, log: Path) -> Iterator[Process]:
    address = f"http://127.0.0.1:{port}"
    begun = time.perf_counter()
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment())
    try:
        _wait_for_answer(process, address + path, log)
        yield Process(process, address, time.perf_counter() - begun)
    finally:
        _end(process)


def environment() -> dict[str, str]:
    """Return the environment without settings of flowdapt."""
    return {key: value for key, value in os.environ.items() if not key.startswith("FLOWDAPT")}


def _wait_for_answer(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    with httpx.Client(timeout=5) as client:
        while process.poll() is None and time.monotonic() < deadline:
            try:
                client.get(url)
            except httpx.TransportError:
                time.sleep(0.005)
            else:
                return
    raise RuntimeError(f"no answer from {url}:\n{log.read_text()}")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
