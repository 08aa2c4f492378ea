"""The run and the stage that code belongs to."""

from __future__ import annotations

import asyncio
import pickle
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import flowdapt
from flowdapt.context import (
    WorkflowRunContext,
    get_run_context,
    reset_run_context,
    set_run_context,
)
from flowdapt.resources import Workflow
from flowdapt.runs import Run


@contextmanager
def within(context: WorkflowRunContext) -> Iterator[None]:
    """Have the block belong to a run."""
    token = set_run_context(context)
    try:
        yield
    finally:
        reset_run_context(token)


def test_outside_a_stage_there_is_none_and_it_says_where_there_is() -> None:
    with pytest.raises(RuntimeError, match="there is no run context here") as caught:
        get_run_context()

    assert "works inside a stage" in str(caught.value)
    assert caught.value.__suppress_context__


def test_it_is_reached_from_the_package_itself() -> None:
    context = WorkflowRunContext(stage="load")

    with within(context):
        assert flowdapt.get_run_context() is context


def test_tasks_that_a_stage_starts_belong_to_its_run_too() -> None:
    async def inner() -> str:
        return get_run_context().stage

    async def outer() -> str:
        return await asyncio.create_task(inner())

    with within(WorkflowRunContext(stage="load")):
        stage = asyncio.run(outer())

    assert stage == "load"


def test_the_context_before_comes_back() -> None:
    with within(WorkflowRunContext(stage="outer")):
        with within(WorkflowRunContext(stage="inner")):
            assert get_run_context().stage == "inner"

        assert get_run_context().stage == "outer"


def test_run_and_definition_are_models_made_of_plain_data() -> None:
    run = Run(workflow="w", source="api")
    data: dict[str, Any] = {"metadata": {"name": "w"}, "spec": {"stages": []}}
    data["spec"]["stages"].append({"name": "a", "target": "farm.load"})
    workflow = Workflow.parse(data, where="test")

    context = WorkflowRunContext(
        run_data=run.model_dump(), definition_data=workflow.model_dump(mode="json")
    )

    assert context.run == run
    assert context.run is context.run
    assert context.definition.spec == workflow.spec


class Sealing:
    """A config that notes when it is opened."""

    def __init__(self) -> None:
        self.opened = False

    def __call__(self) -> dict[str, Any]:
        self.opened = True
        return {"token": "plain"}

    def mask(self, text: str) -> str:
        return text.replace("plain", "***") if self.opened else text


def test_a_sealed_config_is_opened_when_it_is_first_read_and_not_before() -> None:
    sealed = Sealing()
    context = WorkflowRunContext(config=sealed, stage="load")

    repr(context)
    copied: WorkflowRunContext = pickle.loads(pickle.dumps(context.at("clean", 3)))

    assert not sealed.opened
    assert (copied.stage, copied.item) == ("clean", 3)
    assert copied.config == {"token": "plain"}
    assert not sealed.opened
    assert context.config == {"token": "plain"}
    assert sealed.opened


def test_what_was_opened_is_masked_in_every_stage_of_the_run() -> None:
    context = WorkflowRunContext(config=Sealing())
    clean, train = context.at("clean"), context.at("train")

    assert clean.mask("so plain") == "so plain"
    assert train.config["token"] == "plain"

    assert clean.mask("so plain") == "so ***"
    assert WorkflowRunContext().mask("so plain") == "so plain"


def test_without_secrets_the_config_is_what_was_given() -> None:
    data = {"n": 1}

    assert WorkflowRunContext(config=data).at("load").config is data
    assert WorkflowRunContext().config == {}


def test_asking_for_the_context_imports_none_of_the_models() -> None:
    code = "import sys, flowdapt; flowdapt.get_run_context; print('pydantic' in sys.modules)"

    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert answer.stdout == "False\n"


def test_the_key_for_services_outside_is_the_same_for_one_stage_and_element_of_a_run() -> None:
    context = WorkflowRunContext(run_data={"uid": "6f1c1f5e-6d5c-4f0e-8f5b-0d6f0a4b7c11"})
    other = WorkflowRunContext(run_data={"uid": "6f1c1f5e-6d5c-4f0e-8f5b-0d6f0a4b7c12"})

    keys = [
        one.at(stage, item).idempotency_key
        for one in (context, other)
        for stage in ("a", "b")
        for item in (None, 0, 1)
    ]

    assert len({*keys}) == len(keys)
    assert context.at("b", 1).idempotency_key == keys[5]
