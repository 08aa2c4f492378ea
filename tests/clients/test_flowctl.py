"""Every command of the published ``flowctl`` that calls a server, as users type it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.clients.conftest import Client

WORKFLOW = """\
kind: workflow
metadata:
  name: {name}
spec:
  stages:
    - name: only
      target: user_modules.orchard.{function}
"""
CONFIG = """\
kind: config
version: v1alpha1
metadata:
  name: {name}
spec:
  data:
    depth: 4
"""
TRIGGER = """\
kind: trigger_rule
metadata:
  name: {name}
spec:
  type: schedule
  rule: ["0 3 * * *"]
  action:
    target: run_workflow
    parameters: {{workflow: {function}}}
"""


def applied(flowctl: Client, name: str, text: str = WORKFLOW, function: str = "square") -> Path:
    """Write a resource file and apply it."""
    file = flowctl.folder / f"{name}.yaml"
    file.write_text(text.format(name=name, function=function))
    assert "created" in flowctl("apply", "-p", str(file))
    return file


def test_what_is_applied_is_created_and_then_updated(flowctl: Client) -> None:
    file = applied(flowctl, "ctl_applied")

    assert "updated" in flowctl("apply", "-p", str(file))


def test_resources_are_shown_as_tables_and_data(flowctl: Client) -> None:
    applied(flowctl, "ctl_shown")

    table = flowctl("get", "workflows")
    one = json.loads(flowctl("get", "workflow", "ctl_shown", "--format", "json"))
    text = flowctl("inspect", "workflow", "ctl_shown")

    assert "ctl_shown" in table
    assert one["metadata"]["name"] == "ctl_shown"
    assert "user_modules.orchard.square" in text


def test_triggers_are_applied_shown_and_deleted(flowctl: Client) -> None:
    file = applied(flowctl, "ctl_trigger", TRIGGER)

    assert "ctl_trigger" in flowctl("get", "triggers")
    assert "0 3 * * *" in flowctl("inspect", "trigger", "ctl_trigger")
    assert "updated" in flowctl("apply", "-p", str(file))
    flowctl("delete", "trigger", "ctl_trigger")
    assert "ctl_trigger" not in flowctl("get", "triggers")


def test_a_run_is_started_awaited_and_shown(flowctl: Client) -> None:
    applied(flowctl, "ctl_run")

    told = flowctl("run", "ctl_run", "--n", "3", "-n", "orchard")
    result = flowctl("run", "ctl_run", "--result-only", "--disable-progress")
    begun = flowctl("run", "ctl_run", "--no-wait", "--disable-progress")
    runs = flowctl("get", "runs", "ctl_run", "--limit", "2")

    assert "[FINISHED]: [9, 'orchard', {}]" in told
    assert "[4, 'default', {}]" in result
    assert "[RUNNING]" in begun or "[PENDING]" in begun
    assert len([line for line in runs.splitlines() if "-" in line]) == 2


def test_a_run_that_fails_says_why(flowctl: Client) -> None:
    applied(flowctl, "ctl_failing", function="fail")

    assert "[FAILED]: ['ValueError', 'on purpose']" in flowctl("run", "ctl_failing")


def test_a_run_is_inspected_and_deleted(flowctl: Client) -> None:
    applied(flowctl, "ctl_one_run")
    told = flowctl("run", "ctl_one_run", "--disable-progress")
    name = told.partition("workflow_run/")[2].partition("]")[0]

    inspected = flowctl("inspect", "run", name)
    deleted = flowctl("delete", "run", name)

    assert "state: finished" in inspected
    assert "deleted" in deleted
    assert name not in flowctl("inspect", "run", name)


def test_a_resource_is_patched(flowctl: Client) -> None:
    applied(flowctl, "ctl_patched")

    told = flowctl("patch", "workflow", "ctl_patched", "--metadata.annotations.group", "orchard")

    assert "updated" in told
    assert "group: orchard" in flowctl("inspect", "workflow", "ctl_patched")


def test_a_resource_is_deleted_by_name_and_by_file(flowctl: Client) -> None:
    files = [applied(flowctl, f"ctl_deleted_{n}") for n in (1, 2)]

    by_name = flowctl("delete", "workflow", "ctl_deleted_1")
    by_file = flowctl("delete", "-p", str(files[1]))

    assert "deleted" in by_name
    assert "deleted" in by_file
    assert "ctl_deleted" not in flowctl("get", "workflows")


def test_configs_are_resources_too(flowctl: Client) -> None:
    applied(flowctl, "ctl_config", CONFIG)

    assert "ctl_config" in flowctl("get", "configs")
    assert "depth: 4" in flowctl("inspect", "config", "ctl_config")


def test_plugins_are_shown(flowctl: Client) -> None:
    assert "orchard_plugin" in flowctl("get", "plugins")
    assert "version: 2.1.0" in flowctl("inspect", "plugin", "orchard_plugin")


def test_the_status_of_the_server_is_shown(flowctl: Client) -> None:
    told = flowctl("status")

    assert "ComputeService" in told
    assert "Memory" in told


@pytest.mark.parametrize("name", ["cpu", "memory", "api_latency"])
def test_metrics_are_drawn(flowctl: Client, name: str) -> None:
    told = flowctl("metrics", name)

    label = {"cpu": "CPU Util", "memory": "Memory Util", "api_latency": "Latency (ms)"}[name]
    assert label in told


def test_the_metrics_of_a_period_are_listed(flowctl: Client) -> None:
    told = flowctl("metrics", "memory", "-s", "2001-02-03 04:05:06", "-l", "2", "--format", "json")

    assert 1 <= len(json.loads(told)) <= 2
