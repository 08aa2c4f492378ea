"""The command ``flowdapt tides``."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice
from typing import Annotated

import typer
from flowdapt.errors import InvalidInput, nearest

from .sea import PLACES


def tides(
    place: Annotated[str, typer.Argument(metavar="PLACE", help="Such as Heligoland.")],
    *,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="How many.")] = 4,
) -> None:
    """Say when the tide is highest at a place, the next times."""
    if place not in PLACES:
        hint = nearest(place, PLACES) or f"; there are {', '.join(PLACES)}"
        raise InvalidInput(f"no place is named {place!r}{hint}")
    for high in islice(PLACES[place].highs(datetime.now(UTC)), count):
        typer.echo(f"{high:%Y-%m-%d %H:%M} UTC")
