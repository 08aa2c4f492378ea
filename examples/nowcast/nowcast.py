"""Forecasts the next hours at each station: one small model for each station, variable and hour.

The functions down to ``summary`` are stages of ``workflow.yaml``, in the order of that file; two
more, which hand on what other runs need, are in ``handover.py``.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]  # pandas ships no types
from features import Features, build
from sklearn.linear_model import Ridge  # type: ignore[import-untyped]  # nor does scikit-learn
from sklearn.pipeline import Pipeline, make_pipeline  # type: ignore[import-untyped]
from sklearn.preprocessing import StandardScaler  # type: ignore[import-untyped]
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
from weather import VARIABLES, Record, read

from flowdapt import get_run_context

SHRINKAGE = 30.0  #: Ridge's penalty on coefficients, of which there are many for inputs much alike


@dataclass(frozen=True)
class Spec:
    """Which number a model forecasts: a variable of a station, ``horizon`` hours ahead."""

    station: str
    variable: str
    horizon: int


@dataclass(frozen=True)
class Model:
    """A fitted model and what it forecasts."""

    spec: Spec
    pipeline: Pipeline

    def predict(self, inputs: pd.DataFrame) -> Any:
        """Return one possible value for each row: no rain below zero, no humidity above 100 %."""
        limits = VARIABLES[self.spec.variable]
        return np.clip(self.pipeline.predict(inputs), limits.low, limits.high)


def load(source: str = "") -> list[Record]:
    """Read what the stations measured, from the config's source or that of the run's input."""
    config = get_run_context().config
    return read(source or config["source"], config)


def features(record: Record) -> Features:
    """Work out what was known at each hour of one station."""
    return build(record, hold_out_every=get_run_context().config["hold_out_every"])


def specs() -> list[Spec]:
    """List the models to train: one for each station, variable and horizon."""
    config = get_run_context().config
    return [
        Spec(station["name"], variable, horizon)
        for station in config["stations"]
        for variable in config["variables"]
        for horizon in config["horizons"]
    ]


def train(spec: Spec, stations: Sequence[Features]) -> Model:
    """Fit one model."""
    station = _station(stations, spec)
    rows = station.training_rows(spec.variable, spec.horizon)
    if not rows.any():
        raise ValueError(f"no complete hours to train on for {spec}")
    pipeline = make_pipeline(StandardScaler(), Ridge(SHRINKAGE))
    with threadpool_limits(1):  # every core already has a worker
        pipeline.fit(station.inputs[rows], station.target(spec.variable, spec.horizon)[rows])
    return Model(spec, pipeline)


def evaluate(model: Model, stations: Sequence[Features]) -> dict[str, Any]:
    """Sum the squared errors in the held-out weeks, and those of saying that nothing changes."""
    spec, station = model.spec, _station(stations, model.spec)
    rows = station.test_rows(spec.variable, spec.horizon)
    if not rows.any():
        raise ValueError(f"no complete held-out hours to evaluate {spec} on")
    truth = station.target(spec.variable, spec.horizon)[rows]
    return asdict(spec) | {
        "hours": len(truth),
        "model": float(np.sum((model.predict(station.inputs[rows]) - truth) ** 2)),
        "persistence": float(np.sum((station.now(spec.variable)[rows] - truth) ** 2)),
    }


def forecast(model: Model, stations: Sequence[Features]) -> dict[str, Any]:
    """Forecast one number from the latest hour at which all inputs are known."""
    spec, station = model.spec, _station(stations, model.spec)
    hour = station.latest.index[0]
    return asdict(spec) | {
        "time": f"{hour:%Y-%m-%d %H:%M}",
        "now": round(float(station.now(spec.variable)[hour]), 2),
        "value": round(float(model.predict(station.latest)[0]), 2),
    }


def summary(scores: list[dict[str, Any]], forecasts: list[dict[str, Any]]) -> dict[str, Any]:
    """Tell how good the models are, all stations together, and what they forecast."""
    shown = get_run_context().config["shown_horizons"]
    return {
        "skill": _skill_table(scores, shown),
        "forecast": forecast_table(forecasts, shown),
        "models": len(scores),
    }


def forecast_table(forecasts: list[dict[str, Any]], shown: list[int]) -> list[dict[str, Any]]:
    """Return a row for each station and variable, a column for each hour ahead that is shown."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for one in forecasts:
        key = one["station"], one["variable"]
        row = rows.setdefault(key, {k: one[k] for k in ("station", "time", "variable", "now")})
        if one["horizon"] in shown:
            row[f"+{one['horizon']}h"] = one["value"]
    return list(rows.values())


def _skill_table(scores: list[dict[str, Any]], shown: list[int]) -> list[dict[str, Any]]:
    """Return a row for each variable: skill is 1 for a perfect model, 0 for one no better than
    persistence, below 0 for a worse one."""
    by_horizon = pd.DataFrame(scores).groupby(["variable", "horizon"], sort=False)
    total = by_horizon[["hours", "model", "persistence"]].sum()
    skill = 1 - np.sqrt(total["model"] / total["persistence"])
    rmse = np.sqrt(total["model"] / total["hours"])
    return [
        {"variable": variable}
        | {f"skill_{hours}h": round(float(skill[variable, hours]), 3) for hours in shown}
        | {f"rmse_{shown[-1]}h": round(float(rmse[variable, shown[-1]]), 3)}
        | {"worse_at": ", ".join(f"{h}h" for (_, h), value in of_variable.items() if value <= 0)}
        for variable, of_variable in skill.groupby(level="variable", sort=False)
    ]


def _station(stations: Sequence[Features], spec: Spec) -> Features:
    return {station.station: station for station in stations}[spec.station]
