"""The contract of rules: what decides that something must happen now.

A trigger is a rule and an action. A rule knows when it is due, or which events meet it, or looks
for something itself; it never acts. Where it cannot be understood, it is refused when it is made.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from flowdapt.resources import now


@dataclass(frozen=True, slots=True)
class Occasion:
    """Why a trigger fires, once.

    :param key: no other occasion of the trigger has this key, whatever process saw it
    :param time: when it was due, or happened
    :param event: what actions refer to, with the names that events have on the wire
    :param input: of the run, where the action names none
    """

    key: str
    time: datetime = field(default_factory=now)
    event: Mapping[str, Any] = field(default_factory=dict)
    input: Mapping[str, Any] | None = None


class Rule(ABC):
    """What every rule has; a type of rules is a subclass of one of those below.

    :param rule: as it stands in the trigger
    :param options: of the trigger; a rule refuses those that it does not know
    :raises flowdapt.errors.InvalidResource: with the path of each fault within the trigger's
        ``spec``, such as ``("rule", 0)`` or ``("options", "timezone")``
    """

    @abstractmethod
    def __init__(self, rule: Any, options: Mapping[str, Any]) -> None: ...


class TimeRule(Rule):
    """A rule that is due at certain times."""

    @abstractmethod
    def due(self, after: datetime) -> datetime | None:
        """Return the first time after this one, both in UTC; nothing where none will come.

        It is a pure function: whoever asks again gets the same answer.
        """


class EventRule(Rule):
    """A rule that events meet.

    :ivar types: of the events that can meet it; empty where any can
    :ivar workflows: names of the workflows whose runs these events are about; likewise
    """

    types: Collection[str] = ()
    workflows: Collection[str] = ()

    @abstractmethod
    def met_by(self, event: Mapping[str, Any]) -> bool:
        """Tell whether an event meets the rule; where this raises, it does not.

        :param event: with the names that events have on the wire
        """


class WatchingRule(Rule):
    """A rule that looks for something itself.

    :ivar trouble: what keeps it from that at present, for people to read; empty where nothing does
    """

    trouble: str = ""

    @abstractmethod
    async def watch(
        self, fire: Callable[[Occasion], None], *, since: datetime, seen_to: datetime | None
    ) -> None:
        """Call ``fire`` for each occasion until this is cancelled.

        One that was told not long ago may be told again, also after a restart: that is seen by its
        key, and it does not count.

        :param since: when the trigger became what it is
        :param seen_to: the time of the last occasion that it fired for, if it did since then
        """
