"""The fixtures that authors of plugins find."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from flowdapt_testing.fixtures import (
    Recorder,
    flowdapt_engine,
    flowdapt_events,
    flowdapt_plugins,
    flowdapt_server,
)
from flowdapt_testing.serving import Served, serving

from flowdapt.engine import Engine
from flowdapt.events import RUN_FINISHED, RUN_STARTED

__all__ = ["flowdapt_engine", "flowdapt_events", "flowdapt_plugins", "flowdapt_server"]

WORKFLOW = {
    "kind": "workflow",
    "metadata": {"name": "text"},
    "spec": {"stages": [{"name": "dump", "target": "json.dumps"}]},
}


@pytest.fixture(scope="module")
def flowdapt_settings() -> Sequence[str]:
    return ["services.compute.executor=inline", "database=memory"]


@pytest.mark.anyio
async def test_the_engine_runs_a_workflow(flowdapt_engine: Engine) -> None:
    await flowdapt_engine.apply(WORKFLOW)

    run = await flowdapt_engine.submit("text", {"obj": 1})

    ended = await flowdapt_engine.wait(run.uid)
    assert json.loads(ended.result or b"") == "1"


@pytest.mark.anyio
async def test_the_engine_knows_the_kinds_of_plugins(flowdapt_engine: Engine) -> None:
    assert {"workflow", "config", "trigger_rule"} <= set(flowdapt_engine.kinds)


@pytest.mark.anyio
async def test_events_are_recorded_and_waited_for(
    flowdapt_engine: Engine, flowdapt_events: Recorder
) -> None:
    await flowdapt_engine.apply(WORKFLOW)
    run = await flowdapt_engine.submit("text", {"obj": 1})

    ended = await flowdapt_events.first(RUN_FINISHED)

    assert ended.run == run.uid
    assert await flowdapt_events.first(RUN_FINISHED) is ended
    assert RUN_STARTED in flowdapt_events.types


@pytest.mark.anyio
async def test_an_event_that_never_comes_is_named_with_those_that_came(
    flowdapt_engine: Engine, flowdapt_events: Recorder
) -> None:
    await flowdapt_engine.apply(WORKFLOW)

    with pytest.raises(AssertionError, match=r"no harvest in 0 s, only .*created"):
        await flowdapt_events.first("harvest", seconds=0)


def test_the_server_is_reached_by_its_client(flowdapt_server: Served) -> None:
    flowdapt_server.client.workflows.apply(WORKFLOW)

    run = flowdapt_server.client.runs.run("text", {"obj": [1]})

    assert run.result == "[1]"


def test_the_server_has_the_settings_of_the_test(flowdapt_server: Served) -> None:
    (node,) = flowdapt_server.client.nodes()

    assert node.name.startswith("process ")  # as the inline executor calls itself


def test_a_server_that_does_not_come_up_says_why(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("faulty")

    with pytest.raises(AssertionError, match="no executor named 'abacus'"):
        serving(folder, "services.compute.executor=abacus").__enter__()
