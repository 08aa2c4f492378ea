"""The options of the executor."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from flowdapt_ray.executor import RayExecutor
from flowdapt_ray.options import sorted_out


@pytest.mark.parametrize(
    ("option", "error"),
    [
        ({"cpus": "many"}, "cpus must be a whole number, not 'many'"),
        ({"gpus": -1}, "gpus must be a whole number"),
        ({"cluster_address": 5}, "cluster_address must be a str, not 5"),
        ({"strategy": "best"}, "strategy must be one of DEFAULT, SPREAD, not 'best'"),
        ({"resources": ["a"]}, "resources must be a mapping"),
        ({"resources": {"a": "b"}}, "resources.a must be an amount, not 'b'"),
        ({"env_vars": "A=1"}, "env_vars must be a mapping"),
        ({"label_selector": "a=1"}, "label_selector must be a mapping"),
        ({"log_to_driver": "yes"}, "log_to_driver must be a bool, not 'yes'"),
        ({"py_modules": "mine"}, "py_modules must be a list, not 'mine'"),
        ({"elastic": "yes"}, "elastic must be true or false"),
    ],
)
def test_what_an_option_cannot_be_is_named(option: dict[str, Any], error: str) -> None:
    with pytest.raises((ValueError, TypeError), match=error):
        RayExecutor(**option)


def test_options_of_earlier_releases_without_meaning_are_taken() -> None:
    made = sorted_out(
        {"upload_plugins": True, "mapper_actor": {"name": "m"}, "tasks_per_worker": 4, "cpus": None}
    )

    assert (made.any, made.runtime_env, made.address) == ({}, {}, None)
    assert set(made.local) == {"dashboard_host", "dashboard_port"}


def test_options_go_to_who_takes_them() -> None:
    made = sorted_out(
        {
            "cpus": "4",
            "gpus": "auto",
            "resources": {"disk": 2},
            "strategy": "spread",
            "label_selector": {"zone": "in(a, b)"},
            "working_dir": "here",
            "env_vars": {"A": 1},
            "runtime_env_config": {"setup_timeout_seconds": 5},
            "_temp_dir": "there",
        }
    )

    assert made.local["num_cpus"] == 4
    assert made.local["resources"] == {"disk": 2}
    assert "num_gpus" not in made.local
    assert made.strategy == "SPREAD"
    assert made.selector == {"zone": "in(a,b)"}
    assert made.any == {"_temp_dir": "there"}
    assert made.runtime_env == {
        "working_dir": "here",
        "env_vars": {"A": "1"},
        "config": {"setup_timeout_seconds": 5},
    }


def test_a_cluster_that_is_connected_to_is_not_told_what_it_has() -> None:
    made = sorted_out({"cluster_address": "head:6379", "cpus": 4})

    assert (made.address, made.any) == ("head:6379", {})


def test_the_executor_can_be_made_without_ray() -> None:
    code = "import sys, flowdapt_ray.executor as e; e.RayExecutor(cpus=1); print(*sys.modules)"

    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "ray" not in told.stdout.split()
