"""Times as people read them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

MINUTE, HOUR, DAY = 60, 3600, 86400  #: seconds
PRECISE = 10  #: seconds, below which hundredths are shown

_UNITS = (("d", DAY), ("h", HOUR), ("m", MINUTE), ("s", 1))


def at(text: str) -> datetime:
    """Return the time that a server wrote; without an offset it is UTC."""
    time = datetime.fromisoformat(text)
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time


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
