"""The workflow, in this process and on a server."""

from __future__ import annotations

from pathlib import Path

import flowdapt
from flowdapt_testing.fixtures import Served

from tides import stages

RESOURCES = Path(stages.__file__).parent / "resources"
CONFIG = {"after": "2031-04-01T00:00:00+00:00", "tides": 2}


def test_the_highest_of_all_tides_is_found() -> None:
    result = flowdapt.run(RESOURCES / "workflow.yaml", config=CONFIG)

    assert result["place"] == "Saint-Malo"
    assert result["time"].startswith("2031-04-0")
    assert 2.3 < result["metres"] < 5.1


def test_a_server_knows_the_type_of_triggers(flowdapt_server: Served) -> None:
    rule = {"type": "high_water", "rule": "Heligoland"}
    action = {"target": "run_workflow", "parameters": {"workflow": "tides"}}
    trigger = {
        "kind": "trigger_rule",
        "metadata": {"name": "tides"},
        "spec": {**rule, "action": action},
    }

    trial = flowdapt_server.client.triggers.attempt(trigger, since=24 * 3600)

    assert len(trial.firings) in (1, 2)
