"""Clusters whose nodes each have a virtual environment and folders of their own, as machines do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from flowdapt_sets.paths import VARIABLE
from uv import find_uv_bin

from tests.ray_clusters import LOOPBACK, QUIET, SECRET

SECONDS = 120  #: how long a process may take to end
PROJECT = Path(__file__).parents[1]
STORE = 200 * 2**20  #: bytes of a node's object store

#: each ends with the standard input, and so with the tests
RAY = """
import json, os, sys
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
from ray._private.node import Node
from ray._private.parameter import RayParams
facts = json.loads(sys.argv[1])
head = facts.pop("head")
node = Node(RayParams(**facts), head=head, shutdown_at_exit=True, spawn_reaper=True)
print(node.gcs_address, file=answers, flush=True)
sys.stdin.read()
node.kill_all_processes(check_alive=False, allow_graceful=False)
"""
DASK = """
import asyncio, json, logging, sys, threading
from distributed import Scheduler, Worker

async def main(kind, options):
    logging.getLogger("distributed").setLevel(logging.ERROR)
    loop, ended = asyncio.get_running_loop(), asyncio.Event()

    def read():
        sys.stdin.read()
        loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=read, daemon=True).start()
    async with {"scheduler": Scheduler, "worker": Worker}[kind](**options) as server:
        print(server.address, flush=True)
        ends = [asyncio.ensure_future(end) for end in (ended.wait(), server.finished())]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)

facts = json.loads(sys.argv[1])
asyncio.run(main(facts.pop("kind"), facts))
"""


@dataclass
class Environments:
    """Virtual environments, made as they are needed, with what is installed here and no more.

    :param folder: for all of them; without one, nodes share the environment of this process
    """

    folder: Path | None = None
    wheel: Path | None = None

    def python(self, name: str) -> Path:
        """Return the interpreter of an environment."""
        if self.folder is None:
            return Path(sys.executable)
        place = self.folder / name
        if not place.exists():
            if self.wheel is None:
                out = self.folder / "dist"
                self._uv("build", "--wheel", "--out-dir", str(out), str(PROJECT))
                (self.wheel,) = out.glob("*.whl")
            pins = self.folder / "pins.txt"
            pins.write_text("\n".join(_installed()))
            self._uv("venv", "--python", sys.executable, str(place))
            what = f"flowdapt[ray,dask] @ {self.wheel.as_uri()}"
            there = ["--python", str(place / "bin" / "python"), "--constraint", str(pins)]
            self._uv("pip", "install", *there, what)
        return place / "bin" / "python"

    def _uv(self, *arguments: str) -> None:
        done = subprocess.run(
            [find_uv_bin(), *arguments, "--quiet"], check=False, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr


def _installed() -> Iterator[str]:
    for there in metadata.distributions():
        if there.metadata["Name"] != "flowdapt":
            yield f"{there.metadata['Name']}=={there.version}"


@dataclass
class Machine:
    """A process that is a node, or a scheduler.

    :param sets: the folder in which it has plugin sets
    """

    process: subprocess.Popen[str]
    address: str
    sets: Path

    def kill(self) -> None:
        """End it with all that it started, as a machine that loses its power does."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.stop()

    def stop(self) -> None:
        """End it, and wait for that."""
        for end in (self.process.stdin, self.process.stdout):
            assert end is not None
            end.close()
        try:
            self.process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@dataclass
class Machines:
    """A cluster of machines.

    :param engine: ``ray`` or ``dask``
    """

    engine: str
    environments: Environments
    folder: Path
    address: str = ""
    nodes: dict[str, Machine] = field(default_factory=dict)

    def add(self, name: str) -> Machine:
        """Start a node."""
        facts: dict[str, Any]
        if self.engine == "ray":
            number = len(self.nodes) + 1
            facts = {"head": not self.address, "node_ip_address": f"127.0.0.{number}"}
            facts |= {"num_cpus": 1, "object_store_memory": STORE, "resources": {name: 1}}
            facts |= {"include_log_monitor": False}
            if self.address:
                facts["gcs_address"] = self.address
            else:
                facts |= {"include_dashboard": False, "no_monitor": True}
            made = self._start(name, RAY, facts)
            self.address = self.address or made.address
        else:
            made = self._start(
                name,
                DASK,
                {
                    "kind": "worker",
                    "scheduler_ip": self.address,
                    "name": name,
                    "nthreads": 1,
                    "local_directory": str(self.folder / name),
                    "memory_limit": 0,
                    "host": "127.0.0.1",
                    "dashboard_address": "127.0.0.1:0",
                    "resources": {name: 1},
                },
            )
        self.nodes[name] = made
        return made

    def begin(self) -> None:
        """Start what all nodes hang on, where that is none of them."""
        if self.engine == "dask":
            options = {"kind": "scheduler", "host": "127.0.0.1"}
            options["dashboard_address"] = "127.0.0.1:0"
            self.nodes["scheduler"] = self._start("scheduler", DASK, options)
            self.address = self.nodes["scheduler"].address

    def _start(self, name: str, program: str, facts: dict[str, Any]) -> Machine:
        sets = self.folder / name / "sets"
        sets.mkdir(parents=True)
        environment = {**os.environ, **LOOPBACK, **SECRET, **QUIET, VARIABLE: str(sets)}
        process = subprocess.Popen(
            [str(self.environments.python(name)), "-c", program, json.dumps(facts)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=sets,
            start_new_session=True,
        )
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert address, f"{name} did not start"
        return Machine(process, address, sets)

    @property
    def settings(self) -> list[str]:
        """The settings of a server that computes on the cluster."""
        facts = {"target": self.engine, "cluster_address": self.address}
        return [f"services.compute.executor.{key}={value}" for key, value in facts.items()]

    def stop(self) -> None:
        """End all of it, the first one last."""
        for node in [*self.nodes.values()][::-1]:
            node.stop()


@contextmanager
def machines(
    engine: str, environments: Environments, folder: Path, *names: str
) -> Iterator[Machines]:
    """Run a cluster."""
    cluster = Machines(engine, environments, folder)
    try:
        cluster.begin()
        for name in names:
            cluster.add(name)
        yield cluster
    finally:
        cluster.stop()
