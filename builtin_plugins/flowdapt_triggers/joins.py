"""Several conditions that must all have been met, each by some event, within a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import blake2b
from typing import Any

from flowdapt.texts import to_json
from flowdapt_triggers.moments import moment
from flowdapt_triggers.operators import Value

MOST_APART = 10_000  #: values by which one join is kept apart; beyond, the oldest is forgotten


class Join:
    """Remembers when each condition was last met, until all of them were.

    Nothing of this outlives the process.

    :param within: seconds between the first and the last of the events
    :param by: events count together only where they have the same value of this
    """

    def __init__(self, conditions: Sequence[Value], within: float, by: Value | None) -> None:
        self._conditions, self._within, self._by = tuple(conditions), within, by
        self._met: dict[bytes, dict[int, datetime]] = {}  #: the one that changed last comes last

    def met_by(self, event: Mapping[str, Any]) -> bool:
        """Tell whether an event completes the set; if it does, all begins anew.

        A condition that fails keeps no other from being met.
        """
        met, failure = [], None
        for number, condition in enumerate(self._conditions):
            try:
                if condition(event):
                    met.append(number)
            except Exception as error:
                failure = failure or error
        if met and self._completed(self._value(event), met, _time(event)):
            return True
        if failure is not None:
            raise failure
        return False

    def _completed(self, value: bytes, met: Sequence[int], time: datetime) -> bool:
        times = self._met.pop(value, {})
        for number in met:  # events may come late: of each condition the newest one counts
            times[number] = max(time, times.get(number, time))
        if len(times) == len(self._conditions):
            apart = max(times.values()) - min(times.values())
            if apart.total_seconds() <= self._within:
                return True
        self._met[value] = times
        if len(self._met) > MOST_APART:
            del self._met[next(iter(self._met))]
        return False

    def _value(self, event: Mapping[str, Any]) -> bytes:
        # Of a fixed length, for a value may be the whole result of a run.
        return blake2b(to_json(self._by(event)), digest_size=16).digest() if self._by else b""


def _time(event: Mapping[str, Any]) -> datetime:
    text = event.get("time")
    time = moment(text) if isinstance(text, str) else None
    if time is None:
        raise ValueError(f"event has the time {text!r}; it should be an ISO 8601 text")
    return time
