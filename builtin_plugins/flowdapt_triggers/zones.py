"""What clocks in a time zone show, and when they show it.

A clock that is put forward skips some times, and one that is put back shows some of them twice.
"""

from __future__ import annotations

from bisect import bisect_left
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo, available_timezones

from flowdapt.errors import nearest


def named(name: object) -> tzinfo:
    """Return the time zone of that name.

    :raises ValueError: there is none, with the nearest names
    """
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(str(name))
    except (ValueError, KeyError, OSError):  # a path, a name that is not there, a folder
        pass
    names, text = sorted(available_timezones()), str(name).replace(" ", "_").lower()
    alike = [known for known in names if text in (known.lower(), known.lower().rpartition("/")[2])]
    near = nearest(alike[0], alike) if alike else nearest(str(name), names)
    raise ValueError(f"{name!r:.50} is no time zone{near or '; one is such as Europe/Berlin'}")


def shown(time: datetime, zone: tzinfo) -> datetime:
    """Return what clocks show at a time, without zone."""
    return time.astimezone(zone).replace(tzinfo=None)


def times(local: datetime, zone: tzinfo) -> tuple[datetime, ...]:
    """Return the times, in UTC, at which clocks show this: one, or none, or two."""
    before, after = _offsets(local, zone)
    if before < after:
        return ()
    found = _minus(local, before)
    return (found,) if before == after else (found, _minus(local, after))


def change(local: datetime, zone: tzinfo) -> datetime:
    """Return the time, in UTC, at which clocks are put so that they skip this, or show it twice."""
    before, after = _offsets(local, zone)
    early = _minus(local.replace(microsecond=0), max(before, after))

    def is_put(seconds: int) -> bool:
        return (early + timedelta(seconds=seconds)).astimezone(zone).utcoffset() != before

    most = int(abs(after - before).total_seconds())
    return early + timedelta(seconds=bisect_left(range(most), True, key=is_put))


def first(local: datetime, zone: tzinfo) -> datetime:
    """Return the first time, in UTC, at which clocks show this; if never, when they skip it."""
    found = times(local, zone)
    return found[0] if found else change(local, zone)


def _offsets(local: datetime, zone: tzinfo) -> tuple[timedelta, timedelta]:
    """Return how far clocks are before UTC, in the old and in the new way where they are put."""
    aware = local.replace(tzinfo=zone, fold=0)
    none = timedelta()
    return aware.utcoffset() or none, aware.replace(fold=1).utcoffset() or none


def _minus(local: datetime, offset: timedelta) -> datetime:
    return (local - offset).replace(tzinfo=UTC, fold=0)
