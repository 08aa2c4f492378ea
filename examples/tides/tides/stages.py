"""Functions of the workflow ``tides``."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice
from typing import Any

from flowdapt import get_run_context

from .sea import EPOCH, PLACES


def places() -> list[str]:
    """Return the places that the config names, or else all."""
    return list(get_run_context().config.get("places", PLACES))


def table(place: str) -> dict[str, Any]:
    """Return when the tide is highest at a place the next times, and how high that is."""
    config = get_run_context().config
    after = datetime.fromisoformat(config.get("after") or datetime.now(UTC).isoformat())
    highs = list(islice(PLACES[place].highs(after), config.get("tides", 4)))
    height = PLACES[place].height
    heights = [round(height((high - EPOCH).total_seconds()), 2) for high in highs]
    return {"place": place, "times": [high.isoformat() for high in highs], "metres": heights}


def highest(tables: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the highest of all."""
    tides = [
        {"place": table["place"], "time": time, "metres": metres}
        for table in tables
        for time, metres in zip(table["times"], table["metres"], strict=True)
    ]
    return max(tides, key=lambda tide: float(tide["metres"]))
