"""What flowdapt makes of the plugin, and of the resources that it brings."""

from __future__ import annotations

import json
from pathlib import Path

import flowdapt
import pytest
from flowdapt.engine import Engine
from flowdapt.events import RUN_FINISHED
from flowdapt.plugins import Plugins, State
from flowdapt_testing.fixtures import Recorder

from {{ cookiecutter.module }} import stages

NAME = "{{ cookiecutter.distribution }}"
WORKFLOW = "{{ cookiecutter.module }}"
RESOURCES = Path(stages.__file__).parent / "resources"


def test_flowdapt_finds_the_plugin_and_nothing_is_wrong_with_it(flowdapt_plugins: Plugins) -> None:
    found = {plugin.name: plugin for plugin in flowdapt_plugins.list()}

    assert NAME in found, "install it first: uv sync"
    assert found[NAME].state is State.HEALTHY, found[NAME].reason


def test_the_workflow_finds_the_longest_words() -> None:
    result = flowdapt.run(RESOURCES / "workflow.yaml", {"text": "a bee sees an elephant"})

    assert result == ["elephant"]


def test_the_config_says_which_words_are_long() -> None:
    result = flowdapt.run(RESOURCES / "workflow.yaml", config={"least": 4})

    assert result == ["quick", "brown", "jumps", "over", "lazy"]


@pytest.mark.anyio
async def test_all_resources_are_applied_and_the_end_of_a_run_is_told(
    flowdapt_plugins: Plugins, flowdapt_engine: Engine, flowdapt_events: Recorder
) -> None:
    read = flowdapt_plugins.resolve("readers", "files")
    for document in read(RESOURCES):
        await flowdapt_engine.apply(document.data, where=document.where)

    run = await flowdapt_engine.submit(WORKFLOW, {"text": "bees see elephants"})
    ended = await flowdapt_events.first(RUN_FINISHED)

    stored = await flowdapt_engine.wait(run.uid)
    assert ended.run == run.uid
    assert json.loads(stored.result or b"") == ["bees", "elephants"]
