"""What each operator of a condition does: functions of an event, made of those of its operands."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any

from flowdapt_triggers.moments import moment, seconds

Value = Callable[[Mapping[str, Any]], Any]
Clock = Callable[[], datetime]

_ABSENT = object()
_TIMES = (str, date)  #: what may be a time; each `str | date` would be made anew
_INDEX = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class Operand:
    """What an operator is applied to.

    :param read: returns it for an event
    :param literal: whether it is ``value`` for all of them
    """

    read: Value
    literal: bool = False
    value: Any = None


@dataclass(frozen=True, slots=True)
class Operator:
    """How many operands it takes, and how a function is made of them."""

    least: int
    most: int | None
    make: Callable[..., Value]


class Unfit(ValueError):
    """A literal is nothing that the operator can be applied to, whatever the event.

    :ivar position: of the operand
    """

    def __init__(self, position: int, fact: str) -> None:
        super().__init__(fact)
        self.position = position


def operators(clock: Clock) -> dict[str, Operator]:
    """Return all operators by name.

    :param clock: tells the present time, aware
    """
    return _TIMELESS | {
        "now": Operator(0, 0, lambda: lambda _event: clock()),
        "ago": Operator(1, 1, partial(_ago, clock)),
    }


# Of the event --------------------------------------------------------------------------------


def reading(path: str, absent: Any = None) -> Value:
    """Return a function for what an event has at a path, or ``absent`` where it has nothing."""
    first, *others = path.split(".")
    if not others:
        return lambda event: event.get(first, absent)
    steps = [(key, int(key) if _INDEX.fullmatch(key) else None) for key in others]

    def read(event: Mapping[str, Any]) -> Any:
        value = event.get(first, absent)
        for key, index in steps:
            if isinstance(value, dict):  # asking for this first is quicker than asking for Mapping
                value = value.get(key, absent)
            elif isinstance(value, list | tuple):
                value = value[index] if index is not None and index < len(value) else absent
            elif isinstance(value, Mapping):
                value = value.get(key, absent)
            else:
                return absent
        return value

    return read


def _presence(path: str) -> Value:
    read = reading(path, _ABSENT)
    return lambda event: read(event) is not _ABSENT


def _at(make: Callable[[str], Value], path: Operand) -> Value:
    if not path.literal:
        return lambda event: make(path.read(event))(event)
    if not isinstance(path.value, str) or not path.value:
        raise Unfit(0, f"{path.value!r} is no path; it should be a text such as 'data.state'")
    return make(path.value)


# Of truth ------------------------------------------------------------------------------------


def _and(*operands: Operand) -> Value:
    reads = [operand.read for operand in operands]

    def evaluate(event: Mapping[str, Any]) -> bool:
        for read in reads:  # noqa: SIM110  # a generator for all() takes twice as long
            if not read(event):
                return False
        return True

    return evaluate


def _or(*operands: Operand) -> Value:
    reads = [operand.read for operand in operands]

    def evaluate(event: Mapping[str, Any]) -> bool:
        for read in reads:  # noqa: SIM110  # likewise
            if read(event):
                return True
        return False

    return evaluate


def _of_one(test: Callable[[Any], bool], operand: Operand) -> Value:
    read = operand.read
    return lambda event: test(read(event))


# Of two values -------------------------------------------------------------------------------


def _of_two(test: Callable[[Any, Any], Any], left: Operand, right: Operand) -> Value:
    first, second = left.read, right.read
    if not right.literal:
        return lambda event: test(first(event), second(event))
    value = right.value
    return lambda event: test(first(event), value)


def _in_order(test: Callable[[Any, Any], Any], left: Operand, right: Operand) -> Value:
    if any(operand.literal and _time(operand.value) is None for operand in (left, right)):
        return _of_two(test, left, right)
    first, second = left.read, right.read
    known = _time(right.value) if right.literal else None

    def evaluate(event: Mapping[str, Any]) -> Any:
        one, other = first(event), second(event)
        time, limit = _time(one), known or _time(other)
        return test(one, other) if time is None or limit is None else test(time, limit)

    return evaluate


def _time(value: Any) -> datetime | None:
    return moment(value) if isinstance(value, _TIMES) else None


def _matches(text: Operand, pattern: Operand) -> Value:
    read = text.read
    if not pattern.literal:
        return lambda event: re.search(pattern.read(event), read(event)) is not None
    if not isinstance(pattern.value, str):
        raise Unfit(1, f"{pattern.value!r} is no regular expression; it should be a text")
    try:
        search = re.compile(pattern.value).search
    except (re.error, OverflowError, RecursionError) as error:
        raise Unfit(1, f"{pattern.value!r} is no regular expression: {error}") from None
    return lambda event: search(read(event)) is not None


# Of time -------------------------------------------------------------------------------------


def _ago(clock: Clock, duration: Operand) -> Value:
    if not duration.literal:
        raise Unfit(0, "an expression is no duration; it should be a text such as 30m, 2h or 7d")
    try:
        delta = timedelta(seconds=seconds(duration.value))
        clock() - delta
    except OverflowError:
        raise Unfit(0, f"{duration.value!r} ago is before the first year") from None
    except ValueError as error:
        raise Unfit(0, str(error)) from None
    return lambda _event: clock() - delta


_TIMELESS = {
    "var": Operator(1, 1, partial(_at, reading)),
    "exists": Operator(1, 1, partial(_at, _presence)),
    "and": Operator(1, None, _and),
    "or": Operator(1, None, _or),
    "not": Operator(1, 1, partial(_of_one, operator.not_)),
    "bool": Operator(1, 1, partial(_of_one, bool)),
    "eq": Operator(2, 2, partial(_of_two, operator.eq)),
    "ne": Operator(2, 2, partial(_of_two, operator.ne)),
    "gt": Operator(2, 2, partial(_in_order, operator.gt)),
    "lt": Operator(2, 2, partial(_in_order, operator.lt)),
    "ge": Operator(2, 2, partial(_in_order, operator.ge)),
    "le": Operator(2, 2, partial(_in_order, operator.le)),
    "in": Operator(2, 2, partial(_of_two, lambda needle, haystack: needle in haystack)),
    "contains": Operator(2, 2, partial(_of_two, operator.contains)),
    "matches": Operator(2, 2, _matches),
}
