"""The settings of the Dask executor."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from flowdapt_dask.executor import DaskExecutor

from flowdapt.errors import ServerError
from flowdapt.executors import Host


def test_options_of_earlier_releases_are_taken() -> None:
    executor = DaskExecutor(
        cluster_address=None,
        scheduler_host="localhost",
        scheduler_port=6684,
        scheduler_scheme="tcp",
        dashboard_port=9968,
        cpus="auto",
        gpus=0,
        threads=4,
        memory="4GB",
        adaptive=True,
        pip=["numpy"],
        env_vars={"A": "1"},
        resources={"disk": 2},
        upload_plugins=True,
    )

    assert executor._elastic
    assert executor._connection.options["memory"] == 4e9
    assert not {"cluster_address", "cpus", "threads", "pip"} & set(executor._connection.options)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"scheduler_port": "6684"}, "'scheduler_port' .* must be a number, not '6684'"),
        ({"adaptive": 1}, "'adaptive' .* must be true or false, not 1"),
        ({"env_vars": ["A=1"]}, r"'env_vars' .* must be a table, not \['A=1'\]"),
        ({"cpus": [2]}, r"'cpus' .* must be a number or a text, not \[2\]"),
        ({"cpu": 2}, "no option 'cpu'"),
    ],
)
def test_a_wrong_option_is_named(option: dict[str, Any], said: str) -> None:
    with pytest.raises(TypeError, match=said):
        DaskExecutor(**option)


def test_an_amount_that_is_none_is_named() -> None:
    with pytest.raises(ValueError, match="'memory' is 'lots'"):
        DaskExecutor(memory="lots")


def test_the_server_does_not_load_dask() -> None:
    program = "import sys, flowdapt_dask.executor; assert 'distributed' not in sys.modules"

    subprocess.run([sys.executable, "-c", program], check=True)


async def test_a_cluster_that_does_not_answer_is_named(tmp_path: Any) -> None:
    executor = DaskExecutor(cluster_address="tcp://127.0.0.1:9", dashboard_port=False)

    with pytest.raises(ServerError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9"):
        await executor.start(Host(app_dir=tmp_path))


async def test_a_wrong_option_of_the_security_is_said(tmp_path: Any) -> None:
    executor = DaskExecutor(cluster_address="tls://127.0.0.1:9", security={"tls_ca": "x"})

    with pytest.raises(ServerError, match=r"'security' .*tls_ca"):
        await executor.start(Host(app_dir=tmp_path))


pytestmark = pytest.mark.anyio
