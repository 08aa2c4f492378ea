"""Fitted models by key: what programs find in ``flowdapt.models``.

A model is an artifact whose metadata tells how good it is, and whose earlier versions are kept.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from flowdapt_artifacts import snapshots
from flowdapt_artifacts.artifact import Artifact
from flowdapt_artifacts.configured import placed
from flowdapt_artifacts.manifests import Manifest
from flowdapt_artifacts.store import Store
from flowdapt_artifacts.values import save_object

__all__ = ["Model", "list", "load", "save", "versions"]

Which = Literal["latest"] | int | tuple[Literal["best", "least"], str]

KEPT = 4  #: versions before the newest
_FACTS = "model"  #: the key of the metadata
NAMES = sys.modules[__name__]  #: what is exported as one


@dataclass(frozen=True, slots=True)
class Model:
    """What is known of a version of a model.

    :param trained_at: aware, in UTC
    :param size: bytes
    """

    key: str
    version: int
    metrics: Mapping[str, float] = field(default_factory=dict)
    features: Sequence[str] = ()
    trained_at: datetime | None = None
    type: str = ""
    size: int = 0


def save(
    key: str,
    model: Any,
    *,
    metrics: Mapping[str, float] | None = None,
    features: Iterable[str] | None = None,
    trained_at: datetime | None = None,
    namespace: str = "",
    keep: int = KEPT,
) -> None:
    """Keep a fitted model as the newest version under a key.

    :param metrics: how good it is, by name
    :param features: the names of its inputs, in order
    :param trained_at: aware; by default now
    :param namespace: by default the run's, or ``default`` outside a run
    :param keep: how many versions before it stay
    :raises ValueError: the key is no name, or what is to be known of the model is not as above
    """
    facts = {
        "metrics": {name: _number(key, name, value) for name, value in (metrics or {}).items()},
        "features": _names(features),
        "trained_at": _moment(trained_at).astimezone(UTC).isoformat(),
    }

    def to_artifact(artifact: Artifact, value: Any) -> None:
        save_object(artifact, value)
        artifact[_FACTS] = facts

    store, named = _store(namespace)
    store.save(named, key, model, hook=to_artifact, keep=keep)


def load(key: str, which: Which = "latest", *, namespace: str = "") -> Any:
    """Return a model.

    :param which: the latest, or one by its number, or that with the ``best`` (highest) or the
        ``least`` value of a metric, such as ``("least", "error")``; of equals the latest
    :raises FileNotFoundError: there is none under the key, or no such version
    :raises KeyError: no version has that metric, as a number
    """
    match which:
        case "latest":
            version = None
        case int():
            version = which
        case ("best" | "least" as how, str(metric)):
            version = _chosen(key, how, metric, namespace=namespace)
        case _:
            raise ValueError(
                f"{which!r} is no version of a model: give 'latest', a number, "
                "('best', METRIC) or ('least', METRIC)"
            )
    store, named = _store(namespace)
    return store.load(named, key, version=version)


def versions(key: str, *, namespace: str = "") -> Sequence[Model]:
    """Return what is known of the versions of a model, the latest last.

    :raises FileNotFoundError: there is none under the key
    """
    store, named = _store(namespace)
    place = store.place(named, key)
    found = (snapshots.of_version(place, number) for number in snapshots.versions(place))
    return [_model(key, one.manifest) for one in found]


def list(*, namespace: str = "") -> Iterator[Model]:  # noqa: A001 - models.list() is what is said
    """Yield what is known of the latest version of every model, in the order of their keys."""
    store, named = _store(namespace)
    for place, manifest in snapshots.all_of(store.root(), named):
        if _FACTS in manifest.metadata:
            yield _model(place.name, manifest)


def _chosen(key: str, how: str, metric: str, *, namespace: str) -> int:
    """Return the number of the best version, or of that with the least value, by a metric."""
    sign = 1 if how == "best" else -1
    rated = [
        (sign * one.metrics[metric], one.version)
        for one in versions(key, namespace=namespace)
        if not math.isnan(one.metrics.get(metric, math.nan))
    ]
    if not rated:
        raise KeyError(f"no version of model {key!r} has the metric {metric!r}")
    return max(rated)[1]


def _number(key: str, name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ValueError(f"metric {name!r} of model {key!r} is no number: {value!r}") from None


def _names(features: Any) -> Sequence[str]:
    # Often columns of a frame, or an array of their names, which are neither true nor false.
    if isinstance(features, str):
        raise ValueError(f"features {features!r} are one text: give a list of names")
    return [] if features is None else [*features]


def _moment(trained_at: datetime | None) -> datetime:
    if trained_at is None:
        return datetime.now(UTC)
    if trained_at.tzinfo is None:
        raise ValueError(f"trained_at {trained_at} has no time zone: give it one, such as UTC")
    return trained_at


def _model(key: str, manifest: Manifest) -> Model:
    facts = dict(manifest.metadata.get(_FACTS) or {})
    # JSON has no form for a number that is none, such as the error of a model that diverged.
    given = facts.get("metrics", {}).items()
    facts["metrics"] = {name: math.nan if value is None else value for name, value in given}
    if trained_at := facts.get("trained_at"):
        facts["trained_at"] = datetime.fromisoformat(trained_at)
    return Model(key, manifest.version, **facts, type=manifest.type, size=manifest.size)


def _store(namespace: str) -> tuple[Store, str]:
    at, usual = placed()
    return Store(at.protocol, at.base_path, at.parameters), namespace or usual
