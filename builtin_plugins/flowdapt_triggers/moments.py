"""Times and durations, as rules and events write them."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from flowdapt.settings import Duration

_DAY = len("2031-04-05")
_SECONDS = TypeAdapter[float](Annotated[Duration, Field(ge=0, allow_inf_nan=False)])


def moment(value: str | date) -> datetime | None:
    """Return the time that an ISO 8601 text or a date stands for, aware; nothing for other texts.

    What has no offset is in UTC. Only texts with dashes are dates: ``20310405`` may be any number.
    """
    if isinstance(value, str):
        if value[4:8:3] != "--":  # spares most texts an exception
            return None
        try:
            found = datetime.fromisoformat(value)
            if found.tzinfo is None and len(value) > _DAY:  # three times as quick as replace()
                return datetime.fromisoformat(f"{value}Z")
        except ValueError:
            return None
        value = found
    if not isinstance(value, datetime):
        value = datetime.combine(value, time())
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def seconds(given: Any) -> float:
    """Return how long a duration such as ``2h`` is.

    :raises ValueError: it is none, or less than nothing
    """
    try:
        return _SECONDS.validate_python(given)
    except ValidationError:
        right = "should be a number of seconds, or a text such as 30m, 2h or 7d"
        raise ValueError(f"{given!r} is no duration; it {right}") from None
