"""A type of triggers: due whenever the tide is highest at a place."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from flowdapt.errors import InvalidResource, nearest
from flowdapt.triggers import TimeRule

from .sea import PLACES


class HighWater(TimeRule):
    """Due at high water.

    :param rule: the name of a place
    :param options: there are none
    """

    def __init__(self, rule: Any, options: Mapping[str, Any]) -> None:
        for name in options:
            raise InvalidResource.at("trigger", ("options", name), "there are no options")
        if rule not in PLACES:
            hint = nearest(str(rule), PLACES) or f"; there are {', '.join(PLACES)}"
            raise InvalidResource.at("trigger", ("rule",), f"no place is named {rule!r:.50}{hint}")
        self.place = PLACES[rule]

    def due(self, after: datetime) -> datetime | None:
        """Return the first high water after this time."""
        try:
            return next(self.place.highs(after))
        except OverflowError:  # the calendar ends with the year 9999
            return None
