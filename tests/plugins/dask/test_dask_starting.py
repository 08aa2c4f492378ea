"""A cluster of this machine, which the executor starts and ends."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest
from flowdapt_dask.executor import DaskExecutor
from flowdapt_testing.desks import Desk, mapped_stage, until
from flowdapt_testing.desks import user_stage as stage

pytestmark = pytest.mark.anyio


@pytest.fixture
def options() -> dict[str, Any]:
    return {
        "cpus": 2,
        "gpus": 0,
        "memory": "2GB",
        "resources": {"disk": 1.5},
        "env_vars": {"COLOUR": "blue"},
        "dashboard_port": False,
    }


def gateway(executor: Any) -> psutil.Process:
    """Return the process that holds the cluster."""
    return psutil.Process(executor._connection.link._process.pid)


async def test_a_cluster_of_this_machine_has_what_was_asked_for(desk: Desk) -> None:
    (node,) = await desk.executor.nodes()

    assert node.name == os.uname().nodename
    assert node.resources == {"cpus": 2, "gpus": 0, "memory": 2e9, "disk": 1.5}
    assert "dashboard_url" not in desk.executor.describe()


async def test_stages_are_computed_there(desk: Desk) -> None:
    desk.write(
        """
        import os
        def colour(): return os.environ["COLOUR"]
        def make(): return [bytes(100_000)] * 3
        def size(x): return len(x)
        """
    )

    assert await desk.result(stage("a", "colour", resources={"cpus": 2, "disk": 1.5})) == "blue"
    assert await desk.result(stage("a", "make"), mapped_stage("b", "size", "a")) == [100_000] * 3


async def test_it_listens_on_loopback_alone(desk: Desk) -> None:
    process = gateway(desk.executor)

    listening = [c.laddr.ip for c in process.net_connections() if c.status == "LISTEN"]

    assert set(listening) == {"127.0.0.1"}


async def test_it_ends_with_the_gateway_even_if_that_is_killed(desk: Desk) -> None:
    desk.write("import os\ndef pid(): return os.getpid()")
    computes = await desk.result(stage("a", "pid"))
    process = gateway(desk.executor)
    family = [process, *process.children(recursive=True)]
    assert computes in [member.pid for member in family]

    os.kill(process.pid, signal.SIGKILL)

    await until(lambda: not any(map(_lives, family)))
    assert await desk.result(stage("a", lambda: 1)) == 1  # on another one


async def test_workers_may_join_where_the_scheduler_is_said_to_listen(tmp_path: Path) -> None:
    options: dict[str, Any] = {"scheduler_port": 0, "dashboard_port": 0, "cpus": 1}
    desk = await Desk.over(DaskExecutor(**options), tmp_path)
    facts = desk.executor.describe()
    result = await desk.result(stage("a", lambda: 1))
    ports = {c.laddr.ip for c in gateway(desk.executor).net_connections()}
    await desk.engine.stop()

    assert facts["address"].startswith("tcp://127.0.0.1:")
    assert facts["dashboard_url"].endswith("/status")
    assert (result, ports) == (1, {"127.0.0.1"})


def _lives(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
