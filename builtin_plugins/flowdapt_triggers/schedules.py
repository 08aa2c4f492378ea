"""Rules that are due at certain times: by lines as of cron, in steps, or once."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from flowdapt_triggers import zones
from flowdapt_triggers.cron import CronLine
from flowdapt_triggers.options import Faults, duration, time
from flowdapt_triggers.timetables import EPOCH, Timetable

MOST_LINES = 100  #: of one schedule
SHORTEST_SECONDS = 0.001  #: between two times of an interval
_MICROSECOND = timedelta(microseconds=1)


class Schedule(Timetable):
    """Due whenever one of some cron lines is met by the clocks of a time zone.

    Where clocks are put forward or back, it is as with Debian's cron. Of a line such as
    ``30 2 * * *``, a time that is skipped comes right after the gap, and one that is shown twice
    counts the first time. A line with ``*`` or ``*/5`` as its hour, minute or second is met
    whenever clocks show what it says: never in the gap, and in an hour that comes twice, twice.

    :param rule: a line, or several in a list
    """

    def _read(self, rule: Any, faults: Faults) -> None:
        listed = isinstance(rule, list | tuple)
        if listed and len(rule) > MOST_LINES:
            with faults.at("rule"):
                raise ValueError(f"there are {len(rule):,} cron lines, and may be {MOST_LINES}")
            rule = rule[:MOST_LINES]
        lines = list[CronLine]()
        for index, line in enumerate(rule if listed else [rule]):
            with faults.at("rule", *([index] if listed else [])):
                if not isinstance(line, str):
                    raise ValueError(f"{line!r:.50} is no cron line such as '0 3 * * *'")
                lines.append(CronLine(line))
        with faults.at("rule"):
            if listed and not rule:
                raise ValueError("there is no cron line, so it would never be due")
        self._lines = tuple(lines)

    def _following(self, after: datetime) -> datetime | None:
        found = (
            self._once_a_day(line, after) if line.is_fixed else self._whenever_shown(line, after)
            for line in self._lines
        )
        return min((time for time in found if time), default=None)

    def _once_a_day(self, line: CronLine, after: datetime) -> datetime | None:
        zone = self.options.zone
        local: datetime | None = zones.shown(after, zone)
        # Several may come right after a gap; and what is shown for the second time was met before.
        while local and (local := line.after(local)):
            if (found := zones.first(local, zone)) > after:
                return found
        return None

    def _whenever_shown(self, line: CronLine, after: datetime) -> datetime | None:
        zone = self.options.zone
        now = zones.shown(after, zone)
        local, again = line.after(now), zones.times(now, zone)
        if again[-1] > after and not (local and len(zones.times(local, zone)) > 1):
            # The clock is put back before that, and what it shows then comes first.
            local = line.after(zones.shown(zones.change(now, zone), zone) - _MICROSECOND)
        while local and not zones.times(local, zone):
            local = line.after(zones.shown(zones.change(local, zone), zone) - _MICROSECOND)
        return next((t for t in zones.times(local, zone) if t > after), None) if local else None


class Interval(Timetable):
    """Due at its start, and again whenever so much time went by.

    :param rule: a duration; without the option ``start``, counted from the beginning of 1970, so
        that what is due does not depend on when a server was started
    """

    def _read(self, rule: Any, faults: Faults) -> None:
        with faults.at("rule"):
            self._period = duration(rule, least=SHORTEST_SECONDS)

    def _following(self, after: datetime) -> datetime | None:
        start = self.options.start or EPOCH
        return start + ((after - start) // self._period + 1) * self._period


class Once(Timetable):
    """Due once.

    :param rule: a time; without offset, one that the clocks of a time zone show
    """

    known = ("timezone",)

    def _read(self, rule: Any, faults: Faults) -> None:
        with faults.at("rule"):
            self._time = time(rule, self.options.zone)

    def _following(self, after: datetime) -> datetime | None:
        return self._time if self._time > after else None
