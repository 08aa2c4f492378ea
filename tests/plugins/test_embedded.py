"""A workflow run in the calling process, without a server."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from flowdapt_cli.reading.errors import UnreadableFile
from flowdapt_workers.inline import InlineExecutor

import flowdapt
from flowdapt import get_run_context
from flowdapt.errors import (
    InvalidInput,
    InvalidResource,
    ProviderNotFound,
    StageError,
    TargetNotFound,
)
from flowdapt.resources import Workflow


@pytest.fixture(autouse=True)
def _no_other_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for nothing in the home of whoever runs the tests, who may have user modules there."""
    monkeypatch.setenv("FLOWDAPT__APP_DIR", str(tmp_path / "app"))
    monkeypatch.setattr(sys, "path", [*sys.path])


def a_workflow(*stages: dict[str, Any]) -> dict[str, Any]:
    """Return a workflow as a script writes it."""
    return {"spec": {"stages": list(stages)}}


def one(target: Any, **facts: Any) -> dict[str, Any]:
    """Return a workflow of one stage."""
    return a_workflow({"name": "only", "target": target, **facts})


# What is given


def test_a_dict_with_functions_and_lambdas_is_run() -> None:
    def load(n: int) -> list[int]:
        return list(range(n))

    workflow = a_workflow(
        {"name": "load", "target": load},
        {
            "name": "square",
            "target": lambda x: x * x,
            "type": "parameterized",
            "depends_on": ["load"],
        },
        {"name": "total", "target": sum, "depends_on": ["square"]},
    )

    assert flowdapt.run(workflow, {"n": 4}) == 14


def test_a_model_is_run() -> None:
    data = {"metadata": {"name": "w"}, **one("math.sqrt")}

    assert flowdapt.run(Workflow.parse(data, where="test"), {"x": 9}) == 3


@pytest.mark.parametrize("as_text", [True, False])
def test_a_file_is_run(tmp_path: Path, *, as_text: bool) -> None:
    path = tmp_path / "farm.yaml"
    path.write_text(
        dedent("""
        kind: workflow
        metadata:
          name: farm
        spec:
          stages:
            - {name: root, target: math.sqrt}
        ---
        kind: config
        metadata: {name: other}
        spec: {data: {}}
        """)
    )

    assert flowdapt.run(str(path) if as_text else path, {"x": 9}) == 3


def test_results_come_as_they_are() -> None:
    result = object()

    assert flowdapt.run(one(lambda: result)) is result


def test_async_stages_are_run() -> None:
    async def stage(n: int) -> int:
        await asyncio.sleep(0)
        return n + 1

    assert flowdapt.run(one(stage), {"n": 1}) == 2


def test_stages_find_config_namespace_and_input() -> None:
    def stage() -> Any:
        context = get_run_context()
        run = context.run
        return [context.config, context.namespace, context.input, run.source, run.workflow]

    result = flowdapt.run(one(stage), {"n": 1}, config={"depth": 4}, namespace="mine")

    assert result == [{"depth": 4}, "mine", {"n": 1}, "manual", "workflow"]


def test_an_executor_may_be_given() -> None:
    def stage() -> int:
        return threading.get_ident()

    thread = flowdapt.run(one(stage), executor=InlineExecutor(threads=2))

    assert thread != threading.get_ident()


# Where it is computed


def test_stages_are_computed_in_the_thread_that_asked_so_that_breakpoints_stop_there() -> None:
    thread = flowdapt.run(one(threading.get_ident))

    assert thread == threading.get_ident()


@pytest.mark.anyio
async def test_a_loop_that_is_running_is_no_hindrance() -> None:
    async def stage(n: int) -> int:
        return n + 1

    assert flowdapt.run(one(stage), {"n": 1}) == 2


def test_a_breakpoint_in_a_stage_reaches_the_debugger(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        dedent("""
        import flowdapt

        def stage(n):
            secret = 41 + n
            breakpoint()
            return secret

        print(flowdapt.run({"spec": {"stages": [{"name": "a", "target": stage}]}}, {"n": 1}))
        """)
    )

    told = subprocess.run(
        [sys.executable, str(script)],
        input="p secret\nc\n",
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert "(Pdb) 42" in told
    assert told.splitlines()[-1].endswith("42")


# What is raised


def test_the_exception_of_a_stage_is_raised_as_it_is() -> None:
    class Own(Exception):
        pass

    error = Own("with", "arguments")

    def stage() -> None:
        raise error

    with pytest.raises(Own) as caught:
        flowdapt.run(one(stage))

    assert caught.value is error
    assert caught.traceback[-1].name == "stage"


def test_its_cause_and_its_context_stay_as_they_are() -> None:
    def with_cause() -> None:
        try:
            raise KeyError("first")
        except KeyError as error:
            raise LookupError("second") from error

    def with_context() -> None:
        try:
            raise KeyError("first")
        except KeyError:
            raise LookupError("second")  # noqa: B904 - which is what is tested

    for stage in (with_cause, with_context):
        with pytest.raises(LookupError) as caught:
            flowdapt.run(one(stage))

        assert isinstance(caught.value.__context__, KeyError)
        assert isinstance(caught.value.__cause__, KeyError) == (stage is with_cause)


@pytest.mark.anyio
async def test_it_is_raised_inside_a_running_loop_too() -> None:
    with pytest.raises(ZeroDivisionError):
        flowdapt.run(one(lambda: 1 / 0))


def test_leaving_the_interpreter_is_reported_as_such() -> None:
    with pytest.raises((SystemExit, Exception), match="3") as caught:
        flowdapt.run(one(lambda: sys.exit(3)))

    assert caught.type.__name__ in ("SystemExit", "Exited")


def test_one_failing_element_fails_the_run_if_partial_failure_is_not_allowed() -> None:
    workflow = one(
        lambda x: 1 / x,
        type="parameterized",
        options={"map_on": "xs", "allow_partial_failure": False},
    )

    with pytest.raises(ZeroDivisionError):
        flowdapt.run(workflow, {"xs": [1, 0, 2]})


def test_a_target_that_is_missing_is_named() -> None:
    with pytest.raises(TargetNotFound, match=r"module 'math' has no 'sqr' \(did you mean 'sqrt'"):
        flowdapt.run(one("math.sqr"))


def test_missing_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="needs 'n', which is not given; given is 'm'"):
        flowdapt.run(one(lambda n: n), {"m": 1})


def test_a_workflow_that_is_not_sound_is_refused() -> None:
    with pytest.raises(InvalidResource, match=r"workflow: spec\.stages\.0\.retry: unknown field"):
        flowdapt.run(one(print, retry=3))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([1, 2], "input must be an object of named values, not a list"),
        ("text", "input must be an object of named values, not a str"),
        ({1: 2}, "input must be an object of named values, and the name 1 is no text"),
    ],
)
def test_an_input_without_names_is_refused(given: Any, said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        flowdapt.run(one(print), given)

    assert str(caught.value) == said


def test_a_stage_type_that_nobody_offers_is_refused() -> None:
    with pytest.raises(Exception, match="stage 'only' has the type 'odd', which no plugin offers"):
        flowdapt.run(one(print, type="odd"))


def test_an_executor_that_nobody_offers_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(ProviderNotFound, match=r"no executor named 'lokal' \(did you mean 'local'"):
        flowdapt.run(one(print), executor="lokal")


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match=r"absent\.yaml: cannot be read: No such file"):
        flowdapt.run(tmp_path / "absent.yaml")


@pytest.mark.parametrize("count", [0, 2])
def test_a_file_must_hold_one_workflow(tmp_path: Path, count: int) -> None:
    path = tmp_path / "farm.yaml"
    documents = ["kind: config\nmetadata: {name: c}\nspec: {data: {}}\n"]
    documents += ["kind: workflow\nmetadata: {name: w}\nspec: {stages: []}\n"] * count
    path.write_text("---\n".join(documents))

    with pytest.raises(InvalidResource, match=f"holds {count} workflows, and must hold one"):
        flowdapt.run(path)


def test_deep_and_circular_input_reaches_its_stage() -> None:
    deep: Any = 1
    for _ in range(300):
        deep = [deep]
    ring: list[Any] = []
    ring.append(ring)

    assert flowdapt.run(one(lambda deep, ring: deep is ring), {"deep": deep, "ring": ring}) is False


def test_user_modules_of_the_application_directory_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "user_modules").mkdir()
    (tmp_path / "user_modules" / "sums.py").write_text("def add(a, b): return a + b")
    monkeypatch.setenv("FLOWDAPT__APP_DIR", str(tmp_path))
    workflow = {"spec": {"stages": [{"name": "add", "target": "user_modules.sums.add"}]}}

    assert flowdapt.run(workflow, {"a": 1, "b": 2}) == 3


def test_modules_beside_the_file_of_a_workflow_are_found(tmp_path: Path) -> None:
    (tmp_path / "beside_it.py").write_text("def one(): return 1")
    (tmp_path / "workflow.yaml").write_text(
        "kind: workflow\nmetadata: {name: w}\nspec: {stages: [{name: a, target: beside_it.one}]}"
    )

    assert flowdapt.run(tmp_path / "workflow.yaml") == 1


# Options of the whole workflow


async def never(folder: str) -> None:
    """End only when cancelled, and tell of that."""
    try:
        await asyncio.Event().wait()
    finally:
        (Path(folder) / "ended").touch()


def test_a_run_that_takes_longer_than_its_time_limit_is_stopped(tmp_path: Path) -> None:
    workflow = one(never)
    workflow["spec"]["options"] = {"timeout": 0.05, "concurrency": "queue"}

    with pytest.raises(StageError, match=r"took longer than its time limit of 0\.05 seconds"):
        flowdapt.run(workflow, {"folder": str(tmp_path)})

    assert (tmp_path / "ended").exists()


@pytest.mark.parametrize("options", [{"timeout": "soon"}, {"concurrency": "sometimes"}])
def test_options_of_a_workflow_that_mean_nothing_are_refused(options: dict[str, Any]) -> None:
    workflow = one(len)
    workflow["spec"]["options"] = options

    with pytest.raises(InvalidResource, match=r"spec\.options\."):
        flowdapt.run(workflow, {"obj": []})


def test_options_of_a_stage_that_mean_nothing_are_refused() -> None:
    with pytest.raises(InvalidResource, match=r"spec\.stages\.0\.options\.when"):
        flowdapt.run(one(len, options={"when": "("}), {"obj": []})
