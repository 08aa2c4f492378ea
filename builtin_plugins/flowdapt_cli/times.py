"""Times as people read them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from flowdapt_cli.errors import CommandError

if TYPE_CHECKING:
    from collections.abc import Mapping

MINUTE, HOUR, DAY = 60, 3600, 86400  #: seconds
PRECISE = 10  #: seconds, below which hundredths are shown

_AGO = r"(\d+)([dhms])"
_UNITS = (("d", DAY), ("h", HOUR), ("m", MINUTE), ("s", 1))


def at(text: str) -> datetime:
    """Return the time that a server wrote; without an offset it is UTC."""
    time = datetime.fromisoformat(text)
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time


def moment(text: str) -> datetime:
    """Return the time that a person means: so long ago, such as ``90m``, or a time.

    One without an offset is what clocks here show.

    :raises CommandError: it is neither
    """
    units = dict(_UNITS)
    try:
        if match := re.fullmatch(_AGO, text.strip()):
            return datetime.now(UTC) - timedelta(seconds=int(match[1]) * units[match[2]])
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise CommandError(
            f"{text!r} is no time; write 90m, 2h or 3d for so long ago, or 2031-04-05T06:07"
        ) from None


def is_relative(text: str) -> bool:
    """Tell whether a time is meant as so long ago."""
    return re.fullmatch(_AGO, text.strip()) is not None


def clock(text: str) -> str:
    """Return a time that a server wrote as clocks here show it."""
    try:
        return at(text).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError):  # such as in the year 1, or of an event of somebody
        return text


def age(text: str | None) -> str:
    """Return how long ago that was, roughly, such as ``3m`` or ``12d``."""
    if not text:
        return ""
    seconds = max(0, int((datetime.now(UTC) - at(text)).total_seconds()))
    return next(f"{seconds // size}{unit}" for unit, size in _UNITS if seconds >= size or size == 1)


def took(record: Mapping[str, object]) -> str:
    """Return how long something took that has ``started_at`` and ``finished_at``."""
    began, ended = record.get("started_at"), record.get("finished_at")
    if not began or not ended:
        return ""
    return duration((at(str(ended)) - at(str(began))).total_seconds())


def duration(seconds: float) -> str:
    """Return a duration, such as ``0.12 s``, ``12.3 s`` or ``3m 05s``."""
    if seconds < MINUTE:
        return f"{seconds:.{2 if seconds < PRECISE else 1}f} s"
    minutes, rest = divmod(round(seconds), MINUTE)
    if seconds < HOUR:
        return f"{minutes}m {rest:02}s"
    return f"{minutes // 60}h {minutes % 60:02}m"
