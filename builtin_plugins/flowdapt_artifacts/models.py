"""Fitted models by key: what programs find in ``flowdapt.models``.

A model is an artifact whose metadata tells how good it is, and whose earlier versions are kept.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
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
    features: Sequence[str] | None = None,
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
    :raises ValueError: the key is no name
    """
    facts = {
        "metrics": {name: float(value) for name, value in (metrics or {}).items()},
        "features": [*(features or ())],
        "trained_at": (trained_at or datetime.now(UTC)).astimezone(UTC).isoformat(),
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
    :raises KeyError: no version has that metric
    """
    store, named = _store(namespace)
    if which == "latest":
        return store.load(named, key)
    if isinstance(which, int):
        return store.load(named, key, version=which)
    how, metric = which
    if how not in ("best", "least"):
        raise ValueError(f"{how!r} is no way to choose by a metric: best or least")
    rated = [one for one in versions(key, namespace=namespace) if metric in one.metrics]
    if not rated:
        raise KeyError(f"no version of model {key!r} has the metric {metric!r}")
    sign = 1 if how == "best" else -1
    chosen = max(rated, key=lambda one: (sign * one.metrics[metric], one.version))
    return store.load(named, key, version=chosen.version)


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


def _model(key: str, manifest: Manifest) -> Model:
    facts = dict(manifest.metadata.get(_FACTS) or {})
    if trained_at := facts.get("trained_at"):
        facts["trained_at"] = datetime.fromisoformat(trained_at)
    return Model(key, manifest.version, **facts, type=manifest.type, size=manifest.size)


def _store(namespace: str) -> tuple[Store, str]:
    at, usual = placed()
    return Store(at.protocol, at.base_path, at.parameters), namespace or usual
