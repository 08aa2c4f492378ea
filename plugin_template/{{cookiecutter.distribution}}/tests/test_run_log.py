"""The service, in a server."""

from __future__ import annotations

import json

from flowdapt_testing.fixtures import Served

WORKFLOW = {
    "kind": "workflow",
    "metadata": {"name": "text"},
    "spec": {"stages": [{"name": "dump", "target": "json.dumps"}]},
}


def test_each_run_that_ends_is_a_line(flowdapt_server: Served) -> None:
    client = flowdapt_server.client
    client.workflows.apply(WORKFLOW)

    runs = [client.runs.run("text", {"obj": 1}) for _ in range(2)]

    lines = (flowdapt_server.app_dir / "runs.jsonl").read_text().splitlines()
    told = [json.loads(line) for line in lines]
    assert [line["name"] for line in told] == [run.name for run in runs]
    assert {(line["workflow"], line["state"]) for line in told} == {("text", "finished")}
