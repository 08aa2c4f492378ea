"""The executor keeps the contract of executors, and a server computes with it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from flowdapt.executors import Executor
from flowdapt.testing import ExecutorSuite
from flowdapt_testing.fixtures import Served

from {{ cookiecutter.module }}.executor import ThreadExecutor

NAME = "{{ cookiecutter.module }}"
WORKFLOW = {
    "kind": "workflow",
    "metadata": {"name": "text"},
    "spec": {"stages": [{"name": "dump", "target": "json.dumps"}]},
}


class TestThreadExecutor(ExecutorSuite):
    @pytest.fixture
    def executor(self) -> Executor:
        return ThreadExecutor(threads=2)


@pytest.fixture(scope="module")
def flowdapt_settings() -> Sequence[str]:
    return [f"services.compute.executor.target={NAME}", "services.compute.executor.threads=2"]


def test_a_server_computes_with_it(flowdapt_server: Served) -> None:
    client = flowdapt_server.client
    client.workflows.apply(WORKFLOW)

    run = client.runs.run("text", {"obj": [1]})

    assert run.result == "[1]"
    assert [node.name for node in client.nodes()] == ["threads"]
