"""What is known at each hour of a station, and which hours serve to learn from or to test on."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd  # type: ignore[import-untyped]  # pandas ships no types
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from weather import Record

LAGS = (0, 1, 2, 3, 6, 12, 24)  #: hours back at which a model sees every variable
MAX_FILL = 6  #: hours for which the last measured value stands in for a missing one
LOOKBACK = max(LAGS) + MAX_FILL  #: hours back that the inputs of one hour can depend on
WEEK = 7 * 24  #: hours

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Features:
    """One station, a row for every hour."""

    station: str
    inputs: pd.DataFrame  #: what was known at the hour
    measured: pd.DataFrame  #: what was measured at the hour, with no gap filled
    held_out: Mask  #: whether the hour lies in a week that no model may learn from

    @cached_property
    def latest(self) -> pd.DataFrame:
        """The last hour at which all inputs are known, as the only row."""
        return self.inputs.dropna().tail(1)

    def now(self, variable: str) -> pd.Series:
        """Return the last known value at each hour, which is also what persistence forecasts."""
        return self.inputs[f"{variable} -0h"]

    def target(self, variable: str, horizon: int) -> pd.Series:
        """Return what was measured ``horizon`` hours after each hour, nan where nothing was."""
        return self.measured[variable].shift(-horizon)

    def training_rows(self, variable: str, horizon: int) -> Mask:
        """Tell which rows have nothing to do with a held-out week.

        A row consists of inputs up to ``LOOKBACK`` hours old and a target ``horizon`` hours ahead.
        If any of these hours lay in a held-out week, the model would see a piece of its exam.
        """
        clear = clear_of(self.held_out, back=LOOKBACK, ahead=horizon)
        return self._complete(variable, horizon) & clear

    def test_rows(self, variable: str, horizon: int) -> Mask:
        """Tell which rows have their target in a held-out week: all of it is forecast."""
        examined: Mask = np.zeros_like(self.held_out)
        examined[:-horizon] = self.held_out[horizon:]
        return self._complete(variable, horizon) & examined

    def _complete(self, variable: str, horizon: int) -> Mask:
        known = self.inputs.notna().all(axis="columns")
        return np.asarray(known & self.target(variable, horizon).notna())


def build(record: Record, *, hold_out_every: int) -> Features:
    """Turn a record into features; of every ``hold_out_every`` weeks the last is held out."""
    # Filled forward only: interpolating a gap would tell a model what came after it.
    known = record.hours.ffill(limit=MAX_FILL)
    lagged = {f"{name} -{lag}h": known[name].shift(lag) for lag in LAGS for name in known}
    # Weeks are counted from a fixed hour, so the same ones are held out at every station.
    weeks = (known.index - pd.Timestamp(0, tz="UTC")) // pd.Timedelta(hours=WEEK)
    return Features(
        station=record.station,
        inputs=pd.DataFrame(lagged | clock(known.index)),
        measured=record.hours,
        held_out=np.asarray(weeks % hold_out_every == hold_out_every - 1),
    )


def clock(times: pd.DatetimeIndex) -> dict[str, pd.Series]:
    """Return waves over the day, over the year, and their products: days differ by season."""
    day = times.hour * (2 * np.pi / 24)
    year = times.day_of_year * (2 * np.pi / 365.25)
    daily = [np.ones(len(times)), np.sin(day), np.cos(day), np.sin(2 * day), np.cos(2 * day)]
    yearly = [np.ones(len(times)), np.sin(year), np.cos(year)]
    return {
        f"day {d} year {y}": pd.Series(of_day * of_year, times)
        for d, of_day in enumerate(daily)
        for y, of_year in enumerate(yearly)
        if d or y  # the product of both constants would tell nothing
    }


def clear_of(held_out: Mask, *, back: int, ahead: int) -> Mask:
    """Tell for each hour whether none from ``back`` before to ``ahead`` after it is held out."""
    windows = sliding_window_view(np.pad(held_out, (back, ahead)), back + ahead + 1)
    return np.asarray(~windows.any(axis=1))
