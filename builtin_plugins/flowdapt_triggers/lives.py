"""Triggers at work: what each is, and what it did."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from flowdapt_triggers.history import AHEAD
from flowdapt_triggers.options import LONGEST_SECONDS

if TYPE_CHECKING:
    from flowdapt.triggers import Rule
    from flowdapt_triggers.history import Past
    from flowdapt_triggers.resource import TriggerRule


@dataclass
class Tally:
    """How often a trigger did what, since the server was started."""

    fired: int = 0
    failed: int = 0
    missed: int = 0
    last_fired: datetime | None = None


@dataclass(eq=False)
class Live:
    """A trigger at work. One that is changed is another, which goes on with what the old one knew.

    :param act: its action
    :param past: for what it fired
    :param since: when it became what it is: of what was before, nothing counts
    :ivar runs: the last ones that it began, of which some may be in progress
    :ivar taken: the last time that it was due and that was taken on, if not seen to yet
    """

    resource: TriggerRule
    rule: Rule
    act: Any
    past: Past
    since: datetime
    tally: Tally = field(default_factory=Tally)
    runs: list[UUID] = field(default_factory=list)
    taken: datetime | None = None
    error: str = ""  #: of the last occasion that went wrong

    @property
    def uid(self) -> UUID:
        """Of the trigger."""
        return self.resource.metadata.uid

    @property
    def window(self) -> timedelta | None:
        """How long ago times may be that are made up; nothing where that does not matter."""
        seconds = self.resource.spec.misfire_window
        if seconds is None or not 0 <= seconds <= LONGEST_SECONDS:
            return None
        return timedelta(seconds=seconds)

    def goes_on_as(self, new: TriggerRule) -> bool:
        """Tell whether what waits for this trigger is for the changed one as well."""
        old, spec = self.resource.spec, new.spec
        if old.paused or spec.paused:
            return False
        return (old.type, old.rule, old.options) == (spec.type, spec.rule, spec.options)

    def hand_on(self, new: Live, *, whole: bool) -> None:
        """Have the changed trigger know what this one knows.

        :param whole: whether it has the same rule, and goes on with what that has seen
        """
        new.past, new.tally, new.runs = self.past, self.tally, self.runs
        if whole:
            new.rule, new.since, new.taken = self.rule, self.since, self.taken

    def seen_to(self, now: datetime) -> datetime:
        """Return the time up to which a rule of time needs no look.

        One that is to come is of a clock that was far ahead, and does not count.
        """
        known = (self.since, self.past.due, self.taken)
        return max((time for time in known if time and time <= now + AHEAD), default=now)
