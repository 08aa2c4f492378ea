"""How many calls of a group are computed at once, and how many begin in a time: over all runs."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from flowdapt.errors import nearest
from flowdapt.executors import Call

NAMES = ("concurrency", "rate")  #: the options


@dataclass(frozen=True, slots=True)
class Limits:
    """What the options of a stage say of all its calls; in a parameterized one, of all elements.

    :param at_once: how many there may be at once; absent, any number
    :param begun: how many may begin in ``seconds``; absent, any number
    :param groups: the names that stages share whose calls count together, for each of the two;
        an empty one stands for the stage itself
    """

    at_once: int | None = None
    begun: int | None = None
    seconds: float = 1.0
    groups: tuple[str, str] = ("", "")

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Limits:
        """Return what the options of a stage say; others than these two are not looked at.

        :raises ValueError: saying what is wrong, and what would be right
        """
        concurrency = _read("concurrency", options.get("concurrency"), {"limit", "group"})
        rate = _read("rate", options.get("rate"), {"limit", "group", "seconds"})
        seconds = rate.get("seconds", 1.0)
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds > 0:
            raise ValueError(f"'rate.seconds' is {seconds!r}, and must be a number above 0")
        groups = str(concurrency.get("group", "")), str(rate.get("group", ""))
        return cls(concurrency.get("limit"), rate.get("limit"), float(seconds), groups)

    @property
    def any(self) -> bool:
        """Whether there are any."""
        return self.at_once is not None or self.begun is not None


def _read(name: str, given: Any, known: set[str]) -> dict[str, Any]:
    """Return an option that is a number, or an object with one as ``limit``."""
    if given is None:
        return {}
    read = dict(given) if isinstance(given, Mapping) else {"limit": given}
    for key in read:
        if key not in known:
            there_are = f"; there are {', '.join(sorted(known))}"
            raise ValueError(f"{name!r} has no {key!r}{nearest(str(key), known) or there_are}")
    limit = read.get("limit")
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise ValueError(f"{name!r} needs a limit, a whole number above 0, and not {limit!r}")
    return read


class Unit(Protocol):
    """What is counted."""

    @property
    def over(self) -> bool:
        """Whether nobody waits for it any more."""


@dataclass(slots=True)
class Group:
    """Calls that count together."""

    units: set[Unit] = field(default_factory=set)
    times: deque[float] = field(default_factory=deque)
    longest: float = 0.0  #: seconds for which times are of interest to anybody

    def room(self, limit: int) -> bool:
        """Tell whether another call may be computed beside those that are."""
        # A call holds its place as long as somebody waits for it, so that none is ever lost.
        self.units = {unit for unit in self.units if not unit.over}
        return len(self.units) < limit

    def wait(self, limit: int, seconds: float) -> float:
        """Return after how many seconds another call may begin."""
        now, self.longest = time.monotonic(), max(self.longest, seconds)
        while self.times and self.times[0] <= now - self.longest:
            self.times.popleft()
        return max(0.0, self.times[-limit] + seconds - now) if len(self.times) >= limit else 0.0


class Gate:
    """Lets the units of one job through as its limits say.

    :param groups: of the executor, by name, to be shared by all jobs
    :param own: the name of the group where the options have none
    """

    def __init__(self, limits: Limits, groups: dict[str, Group], own: str) -> None:
        self.limits = limits
        names = (f"{kind}:{name or own}" for kind, name in zip(NAMES, limits.groups, strict=True))
        self._at_once, self._begun = (groups.setdefault(name, Group()) for name in names)

    def wait(self) -> float | None:
        """Return after how many seconds a unit may pass; nothing if that is not known."""
        if self.limits.at_once is not None and not self._at_once.room(self.limits.at_once):
            return None
        if self.limits.begun is not None:
            return self._begun.wait(self.limits.begun, self.limits.seconds)
        return 0.0

    def enter(self, unit: Unit) -> None:
        """Note that a unit passes."""
        if self.limits.at_once is not None:
            self._at_once.units.add(unit)
        if self.limits.begun is not None:
            self._begun.times.append(time.monotonic())

    def leave(self, unit: Unit) -> None:
        """Note that a unit is not computed any more."""
        self._at_once.units.discard(unit)


def gate_of(call: Call, groups: dict[str, Group]) -> Gate | None:
    """Return what limits the units of a call, where its options do.

    :param groups: of the executor, by name
    """
    limits = Limits.of(call.options)
    own = f"{call.context.run_data.get('workflow_uid')} {call.stage}"
    return Gate(limits, groups, own) if limits.any else None


class _Turn:
    """A unit that somebody waits for until it ends."""

    over = False


class Turns:
    """Has the tasks of an event loop pass the gates of their calls."""

    def __init__(self) -> None:
        self._groups: dict[str, Group] = {}
        self._left = asyncio.Condition()

    @asynccontextmanager
    async def through(self, call: Call) -> AsyncIterator[None]:
        """Wait until another unit of a call may be computed, which then is."""
        gate, turn = gate_of(call, self._groups), _Turn()
        if gate is None:
            yield
            return
        async with self._left:
            while (wait := gate.wait()) != 0.0:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._left.wait(), wait)
            gate.enter(turn)
        try:
            yield
        finally:
            gate.leave(turn)
            async with self._left:
                self._left.notify_all()
