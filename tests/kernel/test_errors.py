"""Every error says the fact in lower case, carries it, and stays what it is on its way."""

from __future__ import annotations

import inspect
import pickle
from typing import Any

import pytest
from flowdapt_cli.reading.errors import ExpressionError, UnreadableFile
from flowdapt_rest.retries import RunNotEnded

from flowdapt import errors
from flowdapt.errors import (
    Draining,
    FlowdaptError,
    InvalidResource,
    NeverFits,
    ProviderNotFound,
    ResourceChanged,
    ResourceExists,
    ResourceNotFound,
    RunCancelled,
    TargetNotFound,
    UnlawfulTransition,
    WorkerLost,
    nearest,
)
from flowdapt.executors import StageFailed
from flowdapt.runs import Failure

ALL: list[Any] = [
    error
    for error in vars(errors).values()
    if inspect.isclass(error) and error.__module__ == errors.__name__
]


@pytest.mark.parametrize("error", ALL)
def test_every_error_belongs_to_the_tree_and_says_what_it_means(error: type[Exception]) -> None:
    assert issubclass(error, FlowdaptError)
    assert inspect.getdoc(error)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ResourceNotFound("workflow", "harvst"), "no workflow named 'harvst'"),
        (ResourceExists("config", "a"), "a config with name 'a' already exists"),
        (
            ResourceChanged("config", "a", 1, 3),
            "config 'a' was changed meanwhile: generation 3, not 1; "
            "read it again and repeat the change",
        ),
        (
            NeverFits("train", "cpus", 64, 2),
            "stage 'train' asks for 64 cpus, and the executor has 2 in all",
        ),
        (WorkerLost("train", "SIGKILL"), "stage 'train' lost its worker process (SIGKILL)"),
        (
            WorkerLost("train", "SIGKILL", 3),
            "stage 'train' lost its worker process (SIGKILL), 3 times in a row",
        ),
        (RunCancelled(), "the run was cancelled"),
        (
            TargetNotFound("a.b", "there is no module 'a'"),
            "target 'a.b' cannot be imported: there is no module 'a'",
        ),
        (
            ProviderNotFound("executor", "lokal", ["local", "ray"]),
            "no executor named 'lokal' (did you mean 'local'?)",
        ),
        (
            ProviderNotFound("executor", "x", ["local", "ray"]),
            "no executor named 'x'; there are 'local', 'ray'",
        ),
        (ProviderNotFound("executor", "x", []), "no executor named 'x'; none is installed"),
    ],
)
def test_messages_name_what_is_at_fault(error: FlowdaptError, message: str) -> None:
    assert str(error) == message


def test_an_invalid_resource_lists_its_faults_with_their_paths() -> None:
    faults: list[dict[str, Any]] = [
        {"loc": ("spec", "stages", 0, "name"), "msg": "Field required", "type": "missing"},
        {"loc": (), "msg": "no object", "type": "x"},
    ]

    error = InvalidResource("farm.yaml", faults)

    assert str(error) == "farm.yaml: spec.stages.0.name: Field required; document: no object"
    assert error.errors == faults


CHANGED = ResourceChanged("config", "a", 1, 3)
CHANGED.errors = [{"loc": ["spec"], "msg": "was 1, is 2", "type": "changed"}]
FAULT = {"loc": ("spec", 0), "msg": "no", "type": "x"}
OTHERS: list[FlowdaptError] = [
    CHANGED,
    ProviderNotFound("executor", "lokal", ["local", "ray"], "; install one"),
    ResourceNotFound("workflow", "a"),
    ResourceExists("workflow", "a"),
    InvalidResource("farm.yaml", [FAULT]),
    UnreadableFile("farm.yaml", "it is empty"),
    ExpressionError(("spec", 0), "no variable A"),
    Draining(),
    RunNotEnded("a"),
    UnlawfulTransition("a", "finished", "running"),
    TargetNotFound("a.b", "no", mistyped=True),
    WorkerLost("train", "SIGKILL", 3),
    NeverFits("train", "cpus", 64, 2),
    RunCancelled("because"),
    StageFailed(Failure(type="E", message="m", stage="s"), pickled=b"x"),
]
MADE = [*OTHERS, *(error("a fact") for error in ALL if "__init__" not in vars(error))]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("error", MADE, ids=lambda error: type(error).__name__)
def test_every_error_arrives_elsewhere_as_it_was(error: FlowdaptError, protocol: int) -> None:
    again = pickle.loads(pickle.dumps(error, protocol))

    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))
    assert again.args == error.args


def test_of_every_error_there_is_one_that_was_sent() -> None:
    assert {type(error) for error in MADE} >= set(ALL)


def test_what_was_noted_on_an_error_arrives_with_it() -> None:
    error = WorkerLost("train", "SIGKILL")
    error.add_note("again")

    assert pickle.loads(pickle.dumps(error)).__notes__ == ["again"]


def test_names_that_are_near_are_suggested_and_others_are_not() -> None:
    assert nearest("laod", ["load", "train"]) == " (did you mean 'load'?)"
    assert nearest("lod", ["load", "lode"]) == " (did you mean 'lode' or 'load'?)"
    assert nearest("xyz", ["load", "train"]) == ""
