"""Options that rules of time have in common, and how durations and times are read in triggers."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Any

from pydantic import TypeAdapter, ValidationError

from flowdapt.errors import InvalidResource, nearest
from flowdapt.settings import Duration
from flowdapt_triggers import zones

LONGEST_SECONDS = 36525 * 86400.0  #: of any duration: a century
_FIRST, _LAST = 1970, 9998  #: years of times; one at either end of the calendar has no neighbours
_DURATION: TypeAdapter[float] = TypeAdapter(Duration)


class Faults(list[dict[str, Any]]):
    """What is wrong with a trigger, all of it."""

    @contextmanager
    def at(self, *loc: str | int) -> Iterator[None]:
        """Note a ValueError as a fault of what is at that path, and go on."""
        try:
            yield
        except ValueError as error:
            self.append({"loc": loc, "msg": str(error), "type": "value_error"})

    def raise_any(self) -> None:
        """Refuse the trigger if there is any.

        :raises InvalidResource: with all of them
        """
        if self:
            raise InvalidResource("trigger", self)


def duration(value: Any, *, least: float = 0.0) -> timedelta:
    """Read seconds, or a text such as ``30s`` or ``1h30m``.

    :raises ValueError: it is neither, or out of range
    """
    try:
        seconds = _DURATION.validate_python(None if isinstance(value, bool) else value)
    except ValidationError:
        seconds = -1.0
    if not least <= seconds <= LONGEST_SECONDS:
        raise ValueError(
            f"{value!r:.50} is no duration from {least:g} s to a century; "
            "one is a number of seconds, or a text such as '30s' or '1h30m'"
        )
    return timedelta(seconds=seconds)


def time(value: Any, zone: tzinfo) -> datetime:
    """Read a time of ISO 8601 as one in UTC.

    :param zone: whose clocks show it, where it has no offset itself
    :raises ValueError: it is none, or out of range
    """
    found: datetime | None
    try:
        read = datetime.fromisoformat(value if isinstance(value, str) else value.isoformat())
        found = read.astimezone(UTC) if read.tzinfo else zones.first(read, zone)
    except (AttributeError, TypeError, ValueError, OverflowError):
        found = None
    if found and _FIRST <= found.year <= _LAST:
        return found
    told = str(value) if isinstance(value, date) else value
    raise ValueError(
        f"{told!r:.50} is no time of the years {_FIRST} to {_LAST}; "
        "one is such as '2031-04-05T03:00:00' or '2031-04-05T03:00:00+02:00'"
    )


@dataclass(frozen=True, slots=True)
class Options:
    """What a trigger says beside its rule.

    :ivar zone: of times that have no offset, and of the clocks that cron lines are about
    :ivar start: nothing is due before it
    :ivar end: nothing is due then or later
    :ivar jitter: how much later than meant something may be due
    """

    zone: tzinfo = UTC
    start: datetime | None = None
    end: datetime | None = None
    jitter: timedelta = timedelta()

    @classmethod
    def read(cls, options: Mapping[str, Any], known: Collection[str], faults: Faults) -> Options:
        """Read options; those that are set to nothing have their defaults.

        :param known: names of those that the rule has
        :param faults: where faults are noted; what is at fault has its default
        """
        for name in options:
            with faults.at("options", name):
                if name not in known:
                    other = nearest(str(name), known) or f"; there are {', '.join(known)}"
                    raise ValueError(f"no option is named {name!r}{other}")
        given = {name: options[name] for name in known if options.get(name) is not None}
        found: dict[str, Any] = {"zone": UTC}
        with faults.at("options", "timezone"):
            found["zone"] = zones.named(given.get("timezone", "UTC"))
        for name in [name for name in ("start", "end") if name in given]:
            with faults.at("options", name):
                found[name] = time(given[name], found["zone"])
        with faults.at("options", "jitter"):
            found["jitter"] = duration(given.get("jitter", 0))
        read = cls(**found)
        with faults.at("options", "end"):
            if read.start and read.end and read.end <= read.start:
                raise ValueError(f"the end {read.end} is not after the start {read.start}")
        return read
