"""Lines as of cron: which times of a clock they mean, and what is wrong with those that mean none.

cronsim reads and walks the fields. It is only ever given clocks without zone, because it knows no
years, and because in some zones it loses times where clocks are put at midnight or by half an hour.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from cronsim import CronSim, CronSimError

from flowdapt.errors import nearest

_ALIASES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_FIELDS = {
    "second": "0 to 59",
    "minute": "0 to 59",
    "hour": "0 to 23",
    "day of the month": "1 to 31, or L for the last",
    "month": "1 to 12, or JAN to DEC",
    "day of the week": "0 to 7, or SUN to SAT",
    "year": "1970 to 2099",
}
_NAMES = tuple(_FIELDS)
_YEARS = range(1970, 2100)
_SHORT, _WITH_YEAR, _FULL = 5, 6, 7  #: how many fields a line may have
_FORMS = (
    "a line has 5 fields (minute, hour, day of the month, month, day of the week), 6 (a year after "
    "them) or 7 (a second before all of these)"
)
_EPOCH = datetime(1970, 1, 1)  #: as a clock shows it, without zone
_MICROSECOND = timedelta(microseconds=1)


class CronLine:
    """A line with 5 fields, or 6 (the last is the year), or 7 (the first is the second).

    :ivar is_fixed: it names times of day, and not some that follow each other through all of it;
        as in Debian's cron, what it names comes once a day, however clocks are put
    :raises ValueError: it cannot be read, or means no date that ever comes
    """

    __slots__ = ("_fields", "_years", "is_fixed")

    def __init__(self, text: str) -> None:
        fields = _split(text)
        if wrong := [fault for name, field in fields.items() if (fault := _fault(name, field))]:
            if len(fields) == _WITH_YEAR and not re.search("[0-9]{4}", fields["year"]):
                wrong.append("of 6 fields the last is the year, of 7 the first is the second")
            raise ValueError(f"{text!r:.80}: {'; '.join(wrong)}")
        self._years = _years(fields.get("year", "*"))
        self._fields = " ".join(field for name, field in fields.items() if name != "year")
        within_day = [fields.get(name, "0") for name in ("second", "minute", "hour")]
        self.is_fixed = not any(field.startswith("*") for field in within_day)
        if self.after(_EPOCH - _MICROSECOND) is None:
            dates = {name: fields[name] for name in _NAMES[3:] if name in fields}
            named = [f"{name} {field!r}" for name, field in dates.items() if field != "*"]
            raise ValueError(f"{text!r:.80}: there is never a date with {' and '.join(named)}")

    def after(self, local: datetime) -> datetime | None:
        """Return what a clock without zone shows when the line is met next; nothing if never."""
        while True:
            if self._years is not None:
                year = next((year for year in self._years if year >= local.year), None)
                if year is None:
                    return None
                local = max(local, _EPOCH.replace(year=year) - _MICROSECOND)
            try:
                found = next(CronSim(self._fields, local))
            except (StopIteration, CronSimError):  # not within 50 years, or in no month at all
                return None
            if self._years is None or found.year in self._years:
                return found
            local = _EPOCH.replace(year=found.year)  # which is none of them


def _split(text: str) -> dict[str, str]:
    """Return the fields of a line by their names."""
    line = text.strip()
    if line.startswith("@"):
        if line.lower() not in _ALIASES:
            known = nearest(line.lower(), _ALIASES) or f"; there are {', '.join(_ALIASES)}"
            raise ValueError(f"{text!r:.80} is no alias of a cron line{known}")
        line = _ALIASES[line.lower()]
    fields = line.upper().split()
    names = {_SHORT: _NAMES[1:-1], _WITH_YEAR: _NAMES[1:], _FULL: _NAMES}.get(len(fields))
    if names is None:
        raise ValueError(f"{text!r:.80}: {_FORMS}, and not {len(fields)}")
    return dict(zip(names, fields, strict=True))


def _years(text: str) -> tuple[int, ...] | None:
    """Return the years that a field means, in order; nothing where all are meant.

    :raises ValueError: the field is no list of years
    """
    if text == "*":
        return None
    found = set[int]()
    for part in text.split(","):
        read = re.fullmatch(r"(?:\*|([0-9]{4})(?:-([0-9]{4}))?)(?:/([0-9]{1,4}))?", part)
        if not read:
            raise ValueError(part)
        least, most, step = read.groups()
        last = most or (_YEARS[-1] if step or not least else least)
        years = range(int(least or _YEARS[0]), int(last) + 1, int(step or 1))
        if not years or years[0] not in _YEARS or years[-1] not in _YEARS:
            raise ValueError(part)
        found.update(years)
    return tuple(sorted(found))


def _is_sound(name: str, field: str) -> bool:
    try:
        if name == "year":
            _years(field)
        else:
            CronSim(" ".join(field if name == other else "*" for other in _NAMES[:-1]), _EPOCH)
    except (CronSimError, ValueError):  # the latter of figures without end, too
        return False
    return bool(field)


def _fault(name: str, field: str) -> str | None:
    """Return what is wrong with a field, naming that part of a list which is to blame."""
    part = next((part for part in field.split(",") if not _is_sound(name, part)), None)
    if part is None:
        return None
    term, stepped, step = part.partition("/")
    right = f"must be {_FIELDS[name]}"
    if stepped and not re.fullmatch(r"0*[1-9][0-9]*", step):
        right = "its step must be 1 or more"
    elif term.count("-") == 1 and all(_is_sound(name, end) for end in term.split("-")):
        right = "a range must not end before it begins"
        right += " (Sunday is 7, too)" if name == "day of the week" else ""
    return f"{name} is {part!r:.50}, and {right}"
