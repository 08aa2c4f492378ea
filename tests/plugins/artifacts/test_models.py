"""Fitted models by key: the latest, the best, and thousands of them."""

from __future__ import annotations

import math
import os
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pandas
import pytest

from flowdapt import models
from flowdapt.artifacts import Artifact
from flowdapt.context import WorkflowRunContext

pytestmark = pytest.mark.usefixtures("run")

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


def test_a_model_is_loaded_with_what_is_known_of_it() -> None:
    at = NOON.astimezone(timezone(timedelta(hours=2)))

    models.save("oslo", {"w": 1}, metrics={"r2": 1}, features=["rain", "hour"], trained_at=at)

    assert models.load("oslo") == {"w": 1}
    (model,) = models.list()
    assert (model.key, model.version, model.type) == ("oslo", 1, "dict")
    assert (model.metrics, list(model.features)) == ({"r2": 1.0}, ["rain", "hour"])
    assert (model.trained_at, model.size > 10) == (NOON, True)


def test_the_latest_or_one_by_its_number_is_loaded() -> None:
    for name in ("first", "second", "third"):
        models.save("oslo", name)

    assert models.load("oslo") == models.load("oslo", "latest") == "third"
    assert models.load("oslo", 2) == "second"
    assert [model.version for model in models.versions("oslo")] == [1, 2, 3]
    with pytest.raises(FileNotFoundError, match="there are 1, 2, 3"):
        models.load("oslo", 7)


def test_the_best_by_a_metric_is_loaded() -> None:
    for name, r2, error in (("a", 0.5, 3), ("b", 0.9, 2), ("c", 0.9, 1), ("d", 0.1, 1)):
        models.save("oslo", name, metrics={"r2": r2, "error": error})
    models.save("oslo", "unrated")

    assert models.load("oslo", ("best", "r2")) == "c"
    assert models.load("oslo", ("least", "error")) == "d"
    with pytest.raises(KeyError, match="no version of model 'oslo' has the metric 'f1'"):
        models.load("oslo", ("best", "f1"))


@pytest.mark.parametrize("which", ["best", "newest", None, ("worst", "r2"), ("best",), "2"])
def test_a_choice_that_is_none_says_which_there_are(which: Any) -> None:
    models.save("oslo", 1, metrics={"r2": 0.5})

    with pytest.raises(ValueError, match=r"is no version of a model: give 'latest', a number, "):
        models.load("oslo", which)


def test_a_model_whose_metric_is_no_number_is_kept_and_not_chosen() -> None:
    models.save("oslo", "good", metrics={"error": 1.0})
    models.save("oslo", "diverged", metrics={"error": float("nan")})

    assert models.load("oslo", ("least", "error")) == "good"
    assert math.isnan(models.versions("oslo")[-1].metrics["error"])


def test_features_may_be_the_columns_of_a_frame() -> None:
    frame = pandas.DataFrame({"rain": [1], "hour": [2]})

    models.save("oslo", 1, features=frame.columns)

    (model,) = models.list()
    assert list(model.features) == ["rain", "hour"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"metrics": {"r2": "high"}}, "metric 'r2' of model 'oslo' is no number: 'high'"),
        ({"features": "rain"}, "features 'rain' are one text: give a list of names"),
        ({"trained_at": datetime(2026, 1, 2)}, "trained_at .* has no time zone"),
        ({"keep": -1}, "keep -1 is no number of versions"),
        ({"keep": "all"}, "keep 'all' is no number of versions"),
    ],
)
def test_what_is_wrong_about_a_model_is_named_and_nothing_kept(
    wrong: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        models.save("oslo", 1, **wrong)

    assert list(models.list()) == []


def test_as_many_versions_are_kept_as_asked_for() -> None:
    for number in range(4):
        models.save("oslo", number, keep=1)

    assert [model.version for model in models.versions("oslo")] == [3, 4]


def test_models_of_another_namespace_are_others(run: WorkflowRunContext) -> None:
    models.save("oslo", 1)
    models.save("oslo", 2, namespace="other")

    assert (models.load("oslo"), models.load("oslo", namespace="other")) == (1, 2)
    assert len([*models.list()]) == len([*models.list(namespace="other")]) == 1
    assert Artifact.get_artifact("oslo", "other")["model"]["metrics"] == {}


def test_only_models_are_listed() -> None:
    Artifact.new_artifact("data", "of-run")
    models.save("oslo", 1)

    assert [model.key for model in models.list()] == ["oslo"]


def test_a_model_that_is_not_there_and_a_key_that_is_no_name_are_named() -> None:
    with pytest.raises(FileNotFoundError, match="no artifact 'rome'"):
        models.load("rome")
    with pytest.raises(FileNotFoundError, match="no artifact 'rome'"):
        models.versions("rome")
    with pytest.raises(ValueError, match=r"'\.\./rome' is no name"):
        models.save("../rome", 1)


def test_a_hundred_models_are_listed_and_loaded() -> None:
    weights = {f"city-{number:03}": os.urandom(1000) for number in range(100)}
    for key, value in weights.items():
        models.save(key, value, metrics={"error": len(key)})

    assert {model.key: models.load(model.key) for model in models.list()} == weights
