"""Answers what the weather will be, with the features and the models of an earlier run."""

from typing import Any

from handover import saved, shared
from nowcast import Spec, forecast, forecast_table

from flowdapt import get_run_context


def answer(station: str, variable: str = "temp") -> dict[str, Any]:
    """Forecast one variable at one station, at every horizon of the config."""
    horizons = get_run_context().config["horizons"]
    features = shared(station)
    models = [saved(Spec(station, variable, horizon)) for horizon in horizons]
    (row,) = forecast_table([forecast(model, [features]) for model in models], horizons)
    return row
