"""A type of rules: due at a time of the day, from Monday to Friday."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, time, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from flowdapt.errors import InvalidResource
from flowdapt.triggers import TimeRule

FRIDAY = 4  #: as datetime counts the days of a week
DAYS = 5  #: that are looked at: a weekend, and one more day before it and after it


class Workdays(TimeRule):
    """Due at a time such as ``06:30``, on workdays.

    :param rule: the time, in hours and minutes
    :param options: ``timezone`` is a name such as ``Europe/Berlin``; without it, the time is UTC
    """

    def __init__(self, rule: Any, options: Mapping[str, Any]) -> None:
        for name in options:
            if name != "timezone":
                raise _refused("there is only the option 'timezone'", "options", name)
        try:
            self.time = time.fromisoformat(rule)
        except (TypeError, ValueError):
            raise _refused(f"{rule!r:.50} is no time such as '06:30'", "rule") from None
        if self.time.tzinfo is not None:
            raise _refused("name the time zone by the option 'timezone'", "rule")
        self.zone = _zone(options.get("timezone", "UTC"))

    def due(self, after: datetime) -> datetime | None:
        """Return the first time after this one."""
        try:
            day = after.astimezone(self.zone).date() - timedelta(days=1)
            for ahead in range(DAYS):
                local = datetime.combine(day + timedelta(days=ahead), self.time, self.zone)
                if local.weekday() <= FRIDAY and (due := local.astimezone(UTC)) > after:
                    return due
        except OverflowError:  # the calendar ends with the year 9999
            return None
        return None


def _zone(name: Any) -> tzinfo:
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(str(name))
    except (KeyError, OSError, ValueError):
        right = "is no time zone such as 'Europe/Berlin'"
        raise _refused(f"{name!r:.50} {right}", "options", "timezone") from None


def _refused(fact: str, *place: str) -> InvalidResource:
    """Return the error for a trigger, with the path of what is at fault in it."""
    return InvalidResource.at("trigger", place, fact)
