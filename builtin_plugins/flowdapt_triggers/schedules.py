"""Rules that go by time: lines as cron has them, equal distances, and one time."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from pydantic import TypeAdapter, ValidationError

from flowdapt.errors import InvalidResource, nearest
from flowdapt.settings import Duration
from flowdapt.triggers import TimeRule
from flowdapt_triggers.cron import Line

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SHORTEST = timedelta(milliseconds=1)  #: distance of two times

_DURATION: TypeAdapter[float] = TypeAdapter(Duration)
_TICK = timedelta(microseconds=1)
_NEAR = timedelta(minutes=1)


class _Timed(TimeRule):
    """What all of them have: a time zone, a begin and an end, and times that are moved a little.

    Options: ``timezone`` (an IANA name), ``start`` and ``end`` (ISO times, in that zone where they
    name none; the end itself does not count), ``jitter`` (each time is later by a part of this
    duration, always the same for the same time, and before the next one).
    """

    known: Sequence[str] = ("timezone", "start", "end", "jitter")

    def __init__(self, rule: Any, options: Mapping[str, Any]) -> None:
        self._faults: list[dict[str, Any]] = []
        for name in options:
            if name not in self.known:
                hint = nearest(name, self.known) or f"; there are {', '.join(self.known)}"
                self.fault(("options", name), f"unknown option{hint}")
        self.zone = self._zone(options.get("timezone", "UTC"))
        self.start = self._time(("options", "start"), options.get("start"))
        self.end = self._time(("options", "end"), options.get("end"))
        self.jitter = self._duration(("options", "jitter"), options.get("jitter", 0))
        if self.start and self.end and self.end <= self.start:
            self.fault(("options", "end"), f"{options['end']} is not after the start")
        self._salt = repr(rule).encode()
        self.read(rule)
        if self._faults:
            raise InvalidResource("rule", self._faults)

    @abstractmethod
    def read(self, rule: Any) -> None:
        """Understand the rule; its faults are noted."""

    @abstractmethod
    def following(self, after: datetime) -> datetime | None:
        """Return the first time after this one, as if there were no begin, end and jitter."""

    def due(self, after: datetime) -> datetime | None:
        """Return the first time after this one; nothing where none will come."""
        if self.start is not None:
            after = max(after, self.start - _TICK)
        found = self.following(after) if not self.jitter else self._moved_after(after)
        return None if found is None or (self.end is not None and found >= self.end) else found

    def _moved_after(self, after: datetime) -> datetime | None:
        """Return the first time that, once moved, is after this one."""
        found = None
        for back in (min(_NEAR, self.jitter), self.jitter):
            before = after - back
            if self.start is not None:
                before = max(before, self.start - _TICK)
            found = self.following(before)
            if found is None or found <= after:
                break
        while found is not None:
            following = self.following(found)
            room = self.jitter if following is None else min(self.jitter, following - found)
            digest = hashlib.blake2b(self._salt + found.isoformat().encode(), digest_size=8)
            moved = found + room * (int.from_bytes(digest.digest(), "big") / 2**64)
            if moved > after:
                return moved
            found = following
        return None

    # Reading ---------------------------------------------------------------------------------

    def fault(self, place: tuple[str | int, ...], fact: str) -> None:
        """Note what is wrong, and where."""
        self._faults.append({"loc": place, "msg": fact, "type": "value_error"})

    def _zone(self, name: Any) -> tzinfo:
        if name == "UTC":
            return UTC
        try:
            if isinstance(name, str) and name:
                return ZoneInfo(name)
        except (KeyError, ValueError, OSError):  # whose subclass says that it is not known
            pass
        near = nearest(str(name), available_timezones()) or "; write one such as 'Europe/Berlin'"
        self.fault(("options", "timezone"), f"{name!r} is no time zone{near}")
        return UTC

    def _time(self, place: tuple[str | int, ...], given: Any) -> datetime | None:
        if given is None:
            return None
        try:
            time = given if isinstance(given, datetime) else datetime.fromisoformat(given)
        except (ValueError, TypeError):
            self.fault(place, f"{given!r} is no time; write it like '2031-04-05T06:07:08'")
            return None
        return (time if time.tzinfo else time.replace(tzinfo=self.zone)).astimezone(UTC)

    def _duration(self, place: tuple[str | int, ...], given: Any) -> timedelta:
        try:
            seconds = _DURATION.validate_python(given)
            if seconds >= 0:
                return timedelta(seconds=seconds)
        except (ValidationError, OverflowError):
            pass
        self.fault(place, f"{given!r} is no duration; write seconds, or a text such as '30m'")
        return timedelta(0)


class Schedule(_Timed):
    """Times as one or several lines of cron have them, see :class:`flowdapt_triggers.cron.Line`."""

    def read(self, rule: Any) -> None:
        """Understand the lines."""
        lines = [rule] if isinstance(rule, str) else rule
        if not isinstance(lines, list | tuple) or not lines:
            self.fault(("rule",), "must be a list of lines such as '0 3 * * *'")
            return
        self._lines = list[Line]()
        for index, text in enumerate(lines):
            try:
                if not isinstance(text, str):
                    raise ValueError(f"{text!r} is no line such as '0 3 * * *'")
                self._lines.append(Line(text, self.zone))
            except ValueError as error:
                self.fault(("rule", index), str(error))

    def following(self, after: datetime) -> datetime | None:
        """Return the first time of any line."""
        found = [due for line in self._lines if (due := line.due(after)) is not None]
        return min(found, default=None)


class Interval(_Timed):
    """Times at equal distances from ``start`` on; without it, from the begin of 1970."""

    def read(self, rule: Any) -> None:
        """Understand the distance."""
        self._step = self._duration(("rule",), rule)
        if not self._faults and self._step < SHORTEST:
            self.fault(("rule",), f"{rule!r} is too short; the least is 0.001 seconds")
        self._from = self.start or EPOCH

    def following(self, after: datetime) -> datetime | None:
        """Return the first time, which is the start itself where that is to come."""
        steps = (after - self._from) // self._step + 1
        return self._from + max(steps, 0) * self._step


class Once(_Timed):
    """One time."""

    known = ("timezone",)

    def read(self, rule: Any) -> None:
        """Understand the time."""
        self._at = self._time(("rule",), rule)

    def following(self, after: datetime) -> datetime | None:
        """Return the time, if it is to come."""
        return self._at if self._at is not None and self._at > after else None
