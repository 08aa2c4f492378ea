"""What existing stages and plugins import, and what it does."""

from __future__ import annotations

import importlib
import json
import pickle
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from flowdapt.compute import cluster_memory, object_store
from flowdapt.compute.artifacts import Artifact
from flowdapt.compute.artifacts.misc import json_from_artifact, json_to_artifact
from flowdapt.compute.executor.local import LocalExecutor
from flowdapt.compute.object_store import Strategy
from flowdapt.compute.resources.workflow.execute import execute_workflow

from flowdapt import artifacts, context, objects
from flowdapt.context import WorkflowRunContext
from flowdapt.errors import InvalidResource

KERNEL_ALONE = """
import sys
from importlib.machinery import PathFinder
found = PathFinder.find_spec
PathFinder.find_spec = lambda name, *rest: None if name == "flowdapt_compat" else found(name, *rest)
import flowdapt.objects
try:
    import flowdapt.compute
except ModuleNotFoundError:
    print("gone")
"""


@pytest.mark.parametrize(
    ("path", "names", "home"),
    [
        (
            "artifacts",
            "Artifact ArtifactFile new_artifact get_artifact list_artifacts "
            "check_if_artifact_exists",
            artifacts,
        ),
        (
            "artifacts.dataset",
            "dataframe_to_artifact dataframe_from_artifact array_to_artifact array_from_artifact "
            "register_handler get_handler_func",
            artifacts,
        ),
        (
            "artifacts.misc",
            "json_to_artifact json_from_artifact pickle_to_artifact pickle_from_artifact",
            artifacts,
        ),
        (
            "resources.workflow.context",
            "get_run_context set_run_context reset_run_context WorkflowRunContext",
            context,
        ),
        ("object_store", "Strategy", objects),
    ],
)
def test_an_import_path_of_earlier_releases_leads_to_what_there_is(
    path: str, names: str, home: Any
) -> None:
    module = importlib.import_module(f"flowdapt.compute.{path}")

    assert module.__doc__
    for name in names.split():
        assert getattr(module, name) is getattr(home, name)


def test_the_kernel_does_without() -> None:
    done = subprocess.run(
        [sys.executable, "-c", KERNEL_ALONE], capture_output=True, text=True, check=True
    )

    assert done.stdout == "gone\n"


# The object store


def test_a_value_is_put_got_and_deleted(run: WorkflowRunContext) -> None:
    object_store.put("key", {"a": 1})

    assert object_store.get("key") == {"a": 1}
    assert object_store.exists("key")
    assert not object_store.exists("key", strategy=Strategy.ARTIFACT)
    object_store.delete("key")
    assert not object_store.exists("key")
    object_store.delete("key")


@pytest.mark.parametrize(
    "chosen", [{"artifact_only": True}, {"strategy": "artifact"}, {"strategy": Strategy.ARTIFACT}]
)
def test_a_value_is_kept_as_an_artifact(
    run: WorkflowRunContext, tmp_path: Path, chosen: dict[str, Any]
) -> None:
    object_store.put("key", [1, 2], **chosen)

    folder = tmp_path / "artifacts" / "of-run" / "key"
    assert pickle.loads((folder / "object").read_bytes()) == [1, 2]
    assert json.loads((folder / ".artifact.json").read_text())["value_type"] == "object"
    assert object_store.get("key", **chosen) == [1, 2]
    assert object_store.get("key") == [1, 2]
    assert object_store.exists("key", **chosen)
    object_store.delete("key", **chosen)
    assert not object_store.exists("key", **chosen)
    object_store.delete("key", **chosen)


def test_a_missing_key_is_the_error_that_plugins_catch(run: WorkflowRunContext) -> None:
    with pytest.raises(KeyError):
        object_store.get("key", strategy="cluster_memory")
    with pytest.raises(FileNotFoundError):
        object_store.get("key")
    with pytest.raises(FileNotFoundError):
        object_store.get("key", artifact_only=True)


def test_hooks_and_parameters_are_passed_on(run: WorkflowRunContext, tmp_path: Path) -> None:
    there = {"base_path": str(tmp_path / "there")}

    object_store.put(
        "key",
        {"a": 1},
        namespace="other",
        artifact_only=True,
        executor="ray",
        save_artifact_hook=json_to_artifact(),
        cluster_memory_params={},
        artifact_params=there,
    )

    assert (tmp_path / "there" / "artifacts" / "other" / "key" / "file.json").exists()
    found = object_store.get(
        "key",
        namespace="other",
        artifact_only=True,
        load_artifact_hook=json_from_artifact(),
        artifact_params=there,
    )
    assert found == {"a": 1}
    assert object_store.exists("key", namespace="other", artifact_only=True, artifact_params=there)
    assert not object_store.exists("key", namespace="other")


def test_the_default_hooks_take_a_serializer_and_go_with_each_other(
    run: WorkflowRunContext, caplog: pytest.LogCaptureFixture
) -> None:
    class Texts:
        @staticmethod
        def dumps(value: Any) -> bytes:
            return json.dumps(value).encode()

        loads = staticmethod(json.loads)

    save, load = object_store.default_save_hook(Texts), object_store.default_load_hook(Texts)

    object_store.put("key", {"a": 1}, artifact_only=True, save_artifact_hook=save)

    assert object_store.get("key", artifact_only=True, load_artifact_hook=load) == {"a": 1}
    artifact = Artifact.get_artifact("key", "of-run")
    assert artifact.get_file("object").read() == b'{"a": 1}'
    artifact["value_type"] = "other"
    assert object_store.get("key", artifact_only=True, load_artifact_hook=load) == {"a": 1}
    assert "saved by another hook, as 'other'" in caplog.text
    object_store.put("key", 1, artifact_only=True)
    assert object_store.default_load_hook()(Artifact.get_artifact("key", "of-run")) == 1


# The memory


def test_the_memory_is_that_of_the_run(run: WorkflowRunContext) -> None:
    cluster_memory.put_in_cluster_memory("key", [1], backend="local", timeout=1)

    assert cluster_memory.get_from_cluster_memory("key") == [1]
    assert cluster_memory.check_for_key_in_cluster_memory("key", namespace="of-run")
    assert object_store.get("key", strategy="cluster_memory") == [1]
    cluster_memory.delete_from_cluster_memory("key")
    assert not cluster_memory.check_for_key_in_cluster_memory("key")
    with pytest.raises(KeyError):
        cluster_memory.get_from_cluster_memory("key")


@pytest.mark.parametrize("name", ["get_cluster_memory", "get_cluster_memory_backend"])
def test_the_memory_is_an_object_as_well(run: WorkflowRunContext, name: str) -> None:
    memory = getattr(cluster_memory, name)()

    memory.put("a", 1)
    memory.put("b", 2, namespace="other")

    assert isinstance(memory, cluster_memory.ClusterMemory)
    assert (memory.get("a"), memory.get("b", namespace="other")) == (1, 2)
    memory.clear()
    assert (memory.exists("a"), memory.exists("b", namespace="other")) == (False, True)
    memory.delete("b", namespace="other")
    assert not memory.exists("b", namespace="other")


# Workflows in tests of others


def a_workflow(*targets: Any) -> dict[str, Any]:
    """Return stages of functions, each of which takes the result of the one before."""
    names = [f"s{n}" for n in range(len(targets))]
    stages = [
        {"name": name, "target": target, "depends_on": names[n - 1 : n] if n else []}
        for n, (name, target) in enumerate(zip(names, targets, strict=True))
    ]
    return {"metadata": {"name": "theirs"}, "spec": {"stages": stages}}


def asked() -> Any:
    """Return the config of the run."""
    return context.get_run_context().config


@pytest.mark.anyio
async def test_a_workflow_is_executed_and_the_run_says_what_came_of_it() -> None:
    run = await execute_workflow(a_workflow(lambda n: n + 1, lambda n: 2 * n), {"n": 1})

    assert (run.state, run.result, run.source) == ("finished", 4, "manual")
    assert run.workflow == "theirs"


@pytest.mark.anyio
async def test_a_workflow_that_fails_is_a_run_or_raises_what_the_stage_raised() -> None:
    failing = a_workflow(lambda: dict[str, int]()["nothing"])

    run = await execute_workflow(failing)

    assert (run.state, run.result) == ("failed", ["KeyError", "'nothing'"])
    with pytest.raises(KeyError, match="nothing"):
        await execute_workflow(failing, return_result=True)


@pytest.mark.anyio
async def test_options_of_an_executed_workflow_count() -> None:
    workflow = a_workflow(lambda: threading.Event().wait(2))
    workflow["spec"]["options"] = {"timeout": 0.05}

    run = await execute_workflow(workflow)

    assert run.result[0] == "TimedOut"
    workflow["spec"]["options"] = {"timeout": "soon"}
    with pytest.raises(InvalidResource, match="timeout"):
        await execute_workflow(workflow)


@pytest.mark.anyio
@pytest.mark.parametrize("processes", [False, True])
async def test_an_executor_that_runs_serves_several_workflows(processes: bool) -> None:
    async with LocalExecutor(use_processes=processes, cpus=1) as executor:
        given: dict[str, Any] = {"executor": executor, "return_result": True}
        first = await execute_workflow(a_workflow(lambda: {1, 2}), **given)
        second = await execute_workflow(a_workflow(asked), config={"key": "value"}, **given)
        assert (executor.running, executor.kind) == (True, "local")

    assert (first, second, executor.running) == ({1, 2}, {"key": "value"}, False)
