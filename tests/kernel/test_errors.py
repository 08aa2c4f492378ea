"""Every error says the fact in lower case, carries it, and stays what it is on its way."""

from __future__ import annotations

import inspect
import pickle
from typing import Any

import pytest

from flowdapt import errors
from flowdapt.errors import (
    FlowdaptError,
    InvalidResource,
    NeverFits,
    ProviderNotFound,
    ResourceChanged,
    ResourceExists,
    ResourceNotFound,
    RunCancelled,
    TargetNotFound,
    WorkerLost,
    nearest,
)

ALL = [
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


@pytest.mark.parametrize(
    "error",
    [
        TargetNotFound("a.b", "no", mistyped=True),
        WorkerLost("train", "SIGKILL", 3),
        RunCancelled("because"),
    ],
)
def test_errors_of_workers_arrive_as_they_were(error: FlowdaptError) -> None:
    again = pickle.loads(pickle.dumps(error))

    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))


def test_names_that_are_near_are_suggested_and_others_are_not() -> None:
    assert nearest("laod", ["load", "train"]) == " (did you mean 'load'?)"
    assert nearest("lod", ["load", "lode"]) == " (did you mean 'lode' or 'load'?)"
    assert nearest("xyz", ["load", "train"]) == ""
