"""A server as users start it, and the published clients, each in an environment of its own.

Their versions are those that users have, and what they need clashes with what we need.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.sites import Site

PYTHON_CLIENTS = ("flowdapt-sdk==0.1.8", "flowctl==0.1.4")
NODE_CLIENTS = ("@emergentmethods/flowdapt-ts-sdk@1.0.8",)
SECONDS = 120  #: how long one program may take

HERE = Path(__file__).parent
STAGES = """
from flowdapt.context import get_run_context


def square(n=2, **others):
    return [n * n, get_run_context().namespace, get_run_context().config]


def fail(**others):
    raise ValueError("on purpose")
"""


def environment(**more: str) -> dict[str, str]:
    """Return our environment without what would change how clients and servers behave."""
    foreign = ("FLOWDAPT", "FLOWCTL", "PYTEST", "PYTHONPATH", "VIRTUAL_ENV")
    return {k: v for k, v in os.environ.items() if not k.startswith(foreign)} | more


def run(command: Sequence[str | Path], cwd: Path, **more: str) -> str:
    """Run a program and return what it printed, in one line of any width; fail if it fails."""
    done = subprocess.run(
        command,
        check=False,
        cwd=cwd,
        env=environment(COLUMNS="500", **more),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
    )
    if done.returncode:
        pytest.fail(f"{' '.join(map(str, command))} failed:\n{done.stdout}", pytrace=False)
    return done.stdout


@dataclass(frozen=True)
class Client:
    """A program that calls the published clients.

    :param command: what starts it, up to its arguments
    """

    command: tuple[str | Path, ...]
    folder: Path
    server: str

    def __call__(self, *arguments: str) -> str:
        return run([*self.command, *arguments], self.folder, HOME=str(self.folder))


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server with stages and a plugin."""
    folder = tmp_path_factory.mktemp("server")
    (folder / "user_modules").mkdir()
    (folder / "user_modules" / "orchard.py").write_text(STAGES)
    plugins = tmp_path_factory.mktemp("plugins")
    about = Site(plugins).install("orchard_plugin", "", version="2.1.0")
    (plugins / "stages.yaml").write_text("kind: workflow\n")
    (about / "RECORD").write_text("orchard_plugin.py,,\nstages.yaml,,\n")
    options = ["rpc.api.port=0", "telemetry.metrics_interval_ms=100"]
    command = [sys.executable, "-m", "flowdapt", "-d", str(folder), "-c", "-"]
    for option in options:
        command += ["-o", option]
    with (folder / "errors.log").open("wb") as errors:
        process = subprocess.Popen(
            [*command, "serve"],
            env=environment(PYTHONPATH=str(plugins), PYTHONUNBUFFERED="1", COLUMNS="500"),
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    try:
        assert process.stdout is not None
        said = process.stdout.readline()
        address = next((word.strip(",") for word in said.split() if word.startswith("http")), "")
        assert address, said + (folder / "errors.log").read_text()
        yield address
    finally:
        process.terminate()
        process.communicate(timeout=SECONDS)


@pytest.fixture(scope="session")
def python_clients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the programs of an environment that has the published clients."""
    folder = tmp_path_factory.mktemp("python-clients")
    found = shutil.which("uv")
    uv = [found] if found else [sys.executable, "-m", "uv"]
    run([*uv, "venv", "--quiet", "--python", sys.executable, "venv"], folder)
    python = folder / "venv" / "bin" / "python"
    # Compiled once, or every single start would do so where nothing may be written.
    install = ["pip", "install", "--quiet", "--compile-bytecode", "--python", str(python)]
    run([*uv, *install, *PYTHON_CLIENTS], folder)
    return python.parent


@pytest.fixture
def sdk(server: str, python_clients: Path, tmp_path: Path) -> Client:
    """Calls the Python SDK; the argument is the name of a function in ``python_sdk.py``."""
    command = (python_clients / "python", "-W", "ignore", HERE / "python_sdk.py", server)
    return Client(command, tmp_path, server)


@pytest.fixture
def flowctl(server: str, python_clients: Path, tmp_path: Path) -> Client:
    """Calls ``flowctl``."""
    app_dir = tmp_path / "flowctl"
    app_dir.mkdir()
    command = (python_clients / "flowctl", "--app-dir", app_dir, "-c", "-", "-s", server)
    return Client(command, tmp_path, server)


@pytest.fixture(scope="session")
def node_clients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the published client for Node."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("there is no Node.js here, so the TypeScript client is not tested")
    folder = tmp_path_factory.mktemp("node-clients")
    (folder / "package.json").write_text('{"private": true}')
    run(["npm", "install", "--no-audit", "--no-fund", "--silent", *NODE_CLIENTS], folder)
    shutil.copy(HERE / "typescript_sdk.mjs", folder)
    return folder


@pytest.fixture
def typescript(server: str, node_clients: Path, tmp_path: Path) -> Client:
    """Calls the TypeScript SDK; the argument is the name of one of ``typescript_sdk.mjs``."""
    return Client(("node", node_clients / "typescript_sdk.mjs", server), tmp_path, server)
