"""What training hands on to forecasting, which is another run and other processes: by name.

Features go into memory, which is quick and ends with its server. Models are files, and stay.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any

import numpy as np
from features import Features, build
from nowcast import Model, Spec
from weather import WeatherError, read

from flowdapt import get_run_context, models, objects
from flowdapt.objects import Strategy

FRESH_SECONDS = 3600.0  #: how long features serve before they are worked out anew


def share(station: Features) -> None:
    """Put the features of one station where every run finds them."""
    name = _features_name(station.station)
    objects.put(name, station, ttl=FRESH_SECONDS, strategy=Strategy.CLUSTER_MEMORY)


def shared(station: str) -> Features:
    """Return the features of one station, worked out again where they are no longer there."""
    with suppress(KeyError):  # they are too old, or the server was started anew since
        name = _features_name(station)
        found: Features = objects.get(name, strategy=Strategy.CLUSTER_MEMORY)
        return found
    features = _worked_out(station, get_run_context().config)
    share(features)
    return features


def save(model: Model, scores: Sequence[Mapping[str, Any]]) -> None:
    """Keep one model as the latest version under its name, with how good it is."""
    spec = asdict(model.spec)
    score = next(score for score in scores if spec.items() <= score.items())
    models.save(
        _model_name(model.spec),
        model.pipeline,
        metrics={
            "rmse": np.sqrt(score["model"] / score["hours"]),
            "rmse_of_persistence": np.sqrt(score["persistence"] / score["hours"]),
        },
        features=model.pipeline.feature_names_in_,
    )


def saved(spec: Spec) -> Model:
    """Return the version of a model that had the least error in the held-out weeks."""
    try:
        return Model(spec, models.load(_model_name(spec), ("least", "rmse")))
    except FileNotFoundError:
        raise LookupError(f"no model for {spec} yet: run the workflow `nowcast` first") from None


def _features_name(station: str) -> str:
    return f"features-{station}"


def _model_name(spec: Spec) -> str:
    return f"{spec.station}-{spec.variable}-{spec.horizon}h"


def _worked_out(name: str, config: Mapping[str, Any]) -> Features:
    stations = {station["name"]: station for station in config["stations"]}
    if name not in stations:
        raise WeatherError(f"no station named {name!r}; there are {', '.join(stations)}")
    (record,) = read(config["source"], {**config, "stations": [stations[name]]})
    return build(record, hold_out_every=config["hold_out_every"])
