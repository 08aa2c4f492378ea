"""A Ray cluster for tests: a process of its own with several nodes, which does what it is told."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psutil
import pytest
from flowdapt_ray.executor import RayExecutor

from tests.staying import Staying

TOKEN = "0123456789abcdef" * 4  #: whoever connects to a cluster of tests must know it
# Ray has this switch for systems whose firewalls ask about every port: all listen on loopback.
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
SECRET = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
QUIET = {"RAY_USAGE_STATS_ENABLED": "0"}
NODE = {"num_cpus": 1, "object_store_memory": 300 * 2**20}
#: a head node without what tests have no use for
LEAN = {"include_dashboard": False, "include_log_monitor": False, "no_monitor": True}
HEAD = {"resources": {"node0": 1}}
#: a node that does not answer for so long is lost; by default that takes Ray 12 s
QUICK = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 1000}
QUICK |= {"health_check_timeout_ms": 2000, "health_check_failure_threshold": 3}


AGENTS = ("dashboard/agent.py", "runtime_env/agent/main.py")


@dataclass
class RayNodes:
    """A cluster that runs in another process.

    :param address: of its head node
    """

    process: subprocess.Popen[str]
    address: str = ""

    def do(self, what: str, **facts: Any) -> Any:
        """Have something done by a method of :class:`_Nodes`, and return what comes of it."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps([what, facts]) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, "the cluster ended"
        return json.loads(answer)


@contextmanager
def serving(nodes: int = 2, **head: Any) -> Iterator[RayNodes]:
    """Run a cluster, with nodes of one processor each.

    :param head: arguments of the first node
    """
    command = [sys.executable, "-m", __name__]
    environment = {**os.environ, **LOOPBACK, **SECRET, **QUIET}
    folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=folder,
    ) as process:
        cluster = RayNodes(process)
        cluster.address = cluster.do("begin", **head)
        for number in range(1, nodes):
            cluster.do("add", resources={f"node{number}": 1})
        yield cluster


@contextmanager
def known() -> Iterator[None]:
    """Have this process, and what it starts, know how to reach clusters of tests."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**LOOPBACK, **SECRET}.items():
            patch.setenv(name, value)
        yield


class Kept(Staying, RayExecutor):
    """An executor on Ray that stays connected."""


def lingers(process: psutil.Process) -> bool:
    """Tell whether a process is one of the helpers of a node that need half a minute to end."""
    command = process.cmdline()  # of its start; later it is a title alone
    title = command[0] if command else ""
    return title.endswith("Agent") or any(argument.endswith(AGENTS) for argument in command)


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class _Nodes:
    """What is done in the process of the cluster; it ends with its standard input."""

    def __init__(self) -> None:
        self._cluster: Any = None
        self._facts: dict[str, Any] = {}
        self._nodes: dict[str, Any] = {}

    def begin(self, **facts: Any) -> str:
        """Start the head node; return its address."""
        from ray.cluster_utils import Cluster

        self._facts = {**NODE, **LEAN, **HEAD, "_system_config": QUICK, **facts}
        self._cluster = Cluster(initialize_head=True, head_node_args=self._facts)
        return str(self._cluster.address)

    def begin_again(self) -> str:
        """Start a new cluster in the place of one whose head was killed."""
        self._cluster.shutdown()
        self._nodes.clear()
        return self.begin(**self._facts)

    def add(self, environment: Mapping[str, str] | None = None, **facts: Any) -> str:
        """Start another node; return its name.

        :param environment: variables of that node alone
        """
        with pytest.MonkeyPatch.context() as patch:
            for name, value in (environment or {}).items():
                patch.setenv(name, value)
            node = self._cluster.add_node(**{**NODE, **facts})
        self._nodes[node.node_id] = node
        return str(node.node_id)

    def remove(self, node: str) -> None:
        """Kill a node with all that runs there."""
        self._cluster.remove_node(self._nodes.pop(node), allow_graceful=False)

    def kill_head(self) -> None:
        """Kill what the whole cluster hangs on."""
        self._cluster.head_node.kill_gcs_server(check_alive=False)

    def end(self) -> None:
        """End all nodes."""
        self._cluster.shutdown()


def main() -> None:
    """Do what the lines on standard input say, and print what comes of it."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # Ray prints, too
    nodes = _Nodes()
    for line in sys.stdin:
        what, facts = json.loads(line)
        answers.write(json.dumps(getattr(nodes, what)(**facts)) + "\n")
        answers.flush()
    nodes.end()


if __name__ == "__main__":
    main()
