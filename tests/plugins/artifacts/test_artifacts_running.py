"""Artifacts as code of a run asks for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowdapt.artifacts import (
    Artifact,
    Store,
    check_if_artifact_exists,
    get_artifact,
    list_artifacts,
    new_artifact,
    sweep,
)
from flowdapt.context import WorkflowRunContext


def test_namespace_and_place_are_those_of_the_run(run: WorkflowRunContext, tmp_path: Path) -> None:
    made = new_artifact("a")

    assert made.namespace == "of-run"
    assert made.path == str(tmp_path / "artifacts" / "of-run" / "a")
    assert get_artifact("a").path == made.path
    assert check_if_artifact_exists("a")
    assert not check_if_artifact_exists("b")
    assert [found.name for found in list_artifacts()] == ["a"]
    with pytest.raises(FileExistsError):
        new_artifact("a")
    with pytest.raises(FileNotFoundError):
        get_artifact("b")
    assert get_artifact("b", create=True).exists


def test_another_namespace_and_place_are_asked_for(run: WorkflowRunContext, tmp_path: Path) -> None:
    new_artifact("a", "other")
    new_artifact("b", base_path=str(tmp_path / "there"))
    new_artifact("c", protocol="memory", base_path="/elsewhere")

    assert list_artifacts() == []
    assert [found.name for found in list_artifacts("other")] == ["a"]
    assert Artifact.does_exist("b", "of-run", base_path=str(tmp_path / "there"))
    assert Artifact.does_exist("c", "of-run", "memory", "/elsewhere")
    assert list_artifacts("unknown", protocol="memory", base_path="/elsewhere") == []


def test_the_place_of_the_run_is_where_artifacts_are_without_a_base_path(
    run: WorkflowRunContext,
) -> None:
    new_artifact("a")

    assert Artifact.does_exist("a", "of-run")
    assert Store().exists("of-run", "a")
    sweep()


def test_outside_a_run_the_functions_say_what_to_use_instead() -> None:
    for call in (new_artifact, get_artifact, check_if_artifact_exists):
        with pytest.raises(RuntimeError, match=r"there is no run here .* use Artifact"):
            call("a")
    with pytest.raises(RuntimeError, match=r"Artifact.list_artifacts\(\)"):
        list_artifacts()
