"""Times that follow each other between a start and an end, each perhaps put off a little."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any, ClassVar

from flowdapt.triggers import TimeRule
from flowdapt_triggers.options import Faults, Options

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)  #: nothing is due before, unless a start says so
_MICROSECOND = timedelta(microseconds=1)
_DIGEST_BYTES = 8


class Timetable(TimeRule):
    """A rule whose times a subclass tells as they are meant, whatever ``start`` and ``end`` say.

    With ``jitter``, each is put off by a part of it that depends on that time, the rule and its
    options alone, and of the gap to the next one where that is less: so their order stays, none is
    lost, and triggers that say the same are due together.

    :cvar known: names of the options
    """

    known: ClassVar[tuple[str, ...]] = ("timezone", "start", "end", "jitter")

    def __init__(self, rule: Any, options: Mapping[str, Any]) -> None:
        faults = Faults()
        self.options = Options.read(options, self.known, faults)
        self._read(rule, faults)
        faults.raise_any()
        self._floor = (self.options.start or EPOCH) - _MICROSECOND
        content = repr((rule, sorted(options.items()))).encode()
        self._seed = blake2b(content, digest_size=_DIGEST_BYTES).digest()

    @abstractmethod
    def _read(self, rule: Any, faults: Faults) -> None:
        """Understand the rule, or note its faults."""

    @abstractmethod
    def _following(self, after: datetime) -> datetime | None:
        """Return the first time that is meant after this one."""

    def due(self, after: datetime) -> datetime | None:
        """Return the first time after this one, both in UTC; nothing where none will come."""
        after = max(after, self._floor)
        try:
            return self._put_off_after(after) if self.options.jitter else self._meant(after)
        except OverflowError:  # the calendar ends with the year 9999
            return None

    def _meant(self, after: datetime) -> datetime | None:
        """Return the first time after this one as it was meant, before the end."""
        found, end = self._following(after), self.options.end
        return None if found and end and found >= end else found

    def _put_off_after(self, after: datetime) -> datetime | None:
        meant = self._meant(max(after - self.options.jitter, self._floor))
        if meant and meant <= after:
            meant = self._latest(meant, after)
            if (found := self._put_off(meant)) > after:
                return found
            meant = self._meant(meant)
        return self._put_off(meant) if meant else None

    def _latest(self, meant: datetime, bound: datetime) -> datetime:
        """Return the last time that is not after ``bound``, by halves: there may be very many.

        :param meant: one of those that are not
        """
        while (following := self._meant(meant)) and following <= bound:
            middle = following + (bound - following) / 2
            found = self._meant(middle)
            if found and found <= bound:
                meant = found
            else:
                meant, bound = following, middle
        return meant

    def _put_off(self, meant: datetime) -> datetime:
        limits = [self._following(meant), self.options.end]
        most = min([self.options.jitter, *(limit - meant for limit in limits if limit)])
        digest = blake2b(meant.isoformat().encode(), key=self._seed, digest_size=_DIGEST_BYTES)
        part = int.from_bytes(digest.digest())
        return meant + (most // _MICROSECOND * part >> 8 * _DIGEST_BYTES) * _MICROSECOND
