"""One line of a schedule, as cron has it: the library cronsim does the arithmetic."""

from __future__ import annotations

import copy
import re
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache

from cronsim import CronSim, CronSimError

ALIASES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
YEARS = range(1970, 2100)
DAILY, YEARLY, SECONDLY = 5, 6, 7  #: fields of a line, with a year, and with seconds as well

_RIGHT = {
    "second": "0 to 59",
    "minute": "0 to 59",
    "hour": "0 to 23",
    "day-of-month": "1 to 31, L, or LW, and a day that one of the months has",
    "month": "1 to 12, or JAN to DEC",
    "day-of-week": "0 to 7, or SUN to SAT",
    "year": f"{YEARS[0]} to {YEARS[-1]}",
}
_NAMES = ("second", "minute", "hour", "day-of-month", "month", "day-of-week", "year")
_SECOND = timedelta(seconds=1)


class Line:
    """The times of a line in a time zone.

    Five fields are minute, hour, day of month, month and day of week; six have the year behind
    these, and seven the second before them, too. Where clocks are put forward, a time that is left
    out comes right after the gap; where they are put back, one that comes twice counts once. Lines
    whose minute or hour begins with a star go by real time instead. That is what cron(8) of Debian
    does.

    :raises ValueError: with the field at fault, and what would be right
    """

    def __init__(self, text: str, zone: tzinfo) -> None:
        self.text, self._zone = text, zone
        fields = ALIASES.get(text.strip().lower(), text).split()
        if len(fields) not in (DAILY, YEARLY, SECONDLY):
            raise ValueError(
                f"{text!r} has {len(fields)} fields, and must have 5 (minute, hour, day of month, "
                "month, day of week), 6 (the year as well) or 7 (the second first), or be one of "
                + ", ".join(ALIASES)
            )
        self._years = None if len(fields) == DAILY else _years(text, fields.pop())
        # A single second is added to the time of its minute, which then is one of Debian's.
        self._second = timedelta(0)
        if len(fields) == YEARLY and re.fullmatch(r"[0-5]?\d", fields[0]):
            self._second = int(fields.pop(0)) * _SECOND
        try:
            self._times = _prepared(" ".join(fields), zone)
        except CronSimError as error:
            name = str(error).removeprefix("Bad ")
            names = _NAMES if len(fields) == YEARLY else _NAMES[1:]
            value = dict(zip(names, fields, strict=False)).get(name, "")
            raise ValueError(f"{text!r}: {name} is {value!r}, and must be {_RIGHT[name]}") from None

    def due(self, after: datetime) -> datetime | None:
        """Return the first time after this one, both in UTC; nothing where none will come."""
        before = after - self._second
        local = before.astimezone(self._zone)
        if self._years is None:
            found = self._found(local, before)
            return None if found is None else found + self._second
        for year in sorted(year for year in self._years if year >= local.year):
            begin = datetime(year, 1, 1, tzinfo=self._zone) - _SECOND
            found = self._found(max(local, begin), before)
            if found is not None and found.astimezone(self._zone).year == year:
                return found + self._second
        return None

    def _found(self, local: datetime, before: datetime) -> datetime | None:
        """Return the first time after both."""
        times = copy.copy(self._times)
        times.dt = local.replace(microsecond=0)
        if times.fixup_tz is not None:
            times.dt = times.dt.replace(tzinfo=None)
        for found in times:
            if (utc := found.astimezone(UTC)) > before:
                return utc
        return None


@lru_cache(2**14)  # it is some kilobytes, and many schedules have the same
def _prepared(text: str, zone: tzinfo) -> CronSim:
    return CronSim(text, datetime(2000, 1, 1, tzinfo=zone))


def _years(text: str, field: str) -> frozenset[int] | None:
    """Return the years of a field; nothing where it is every year."""
    if field == "*":
        return None
    years: set[int] = set()
    for part in field.split(","):
        match = re.fullmatch(r"(?:(\d{4})(?:-(\d{4}))?|\*)(?:/(\d+))?", part)
        first = int(match[1] or YEARS[0]) if match else 0
        last = (
            int(match[2] or (match[1] if not match[3] else YEARS[-1]) or YEARS[-1]) if match else 0
        )
        step = int(match[3] or 1) if match else 0
        if not step or first not in YEARS or last not in YEARS or last < first:
            raise ValueError(f"{text!r}: year is {field!r}, and must be {_RIGHT['year']}")
        years.update(range(first, last + 1, step))
    return frozenset(years)
