"""Rules that events meet by what stands in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flowdapt.errors import InvalidResource, nearest
from flowdapt.resources import now
from flowdapt.triggers import EventRule
from flowdapt_triggers.demands import demanded
from flowdapt_triggers.expressions import Compiler, operands_of
from flowdapt_triggers.joins import Join
from flowdapt_triggers.moments import seconds
from flowdapt_triggers.operators import Clock, Value, reading

OPTIONS = ("within", "by")  #: both of joins


class Condition(EventRule):
    """An expression that is true of an event, or a join of some: ``{"all": [...]}``.

    A join is met by the event that completes it: every one of its conditions was then met by some
    event within the time that the option ``within`` says. With the option ``by``, a path, only
    events that have the same value there count together.

    :param clock: tells the present time, aware
    """

    def __init__(self, rule: Any, options: Mapping[str, Any], *, clock: Clock = now) -> None:
        compiler = Compiler(clock)
        _refuse_unknown(options, compiler)
        if isinstance(rule, Mapping) and set(rule) == {"all"}:
            self._value = _join(rule["all"], options, compiler)
        else:
            self._value = compiler.compile(rule, ("rule",))
            for name in filter(options.__contains__, OPTIONS):
                compiler.refuse(("options", name), f"{name!r} is for rules with 'all' at the top")
        if compiler.faults:
            raise InvalidResource("condition", compiler.faults)
        self.types = demanded(rule, "type") or frozenset()
        self.workflows = demanded(rule, "data.workflow") or frozenset()

    def met_by(self, event: Mapping[str, Any]) -> bool:
        """Tell whether the expression is true of an event, or the event completes the join.

        :raises TypeError: values cannot be compared with one another
        """
        return bool(self._value(event))


def _refuse_unknown(options: Mapping[str, Any], compiler: Compiler) -> None:
    for name in options:
        if name not in OPTIONS:
            near = nearest(name, OPTIONS) or f"; there are {' and '.join(OPTIONS)}"
            compiler.refuse(("options", name), f"no option is named {name!r}{near}")


def _join(given: Any, options: Mapping[str, Any], compiler: Compiler) -> Value:
    listed, loc = isinstance(given, list | tuple), ("rule", "all")
    conditions = [
        compiler.compile(one, (*loc, number) if listed else loc)
        for number, one in enumerate(operands_of(given))
    ]
    if not conditions:
        compiler.refuse(loc, "'all' takes at least 1 condition, and not 0")
    within, by = 0.0, options.get("by")
    if "within" not in options:
        compiler.refuse(("options", "within"), "'within' should say how long 'all' may take")
    else:
        try:
            within = seconds(options["within"])
        except ValueError as error:
            compiler.refuse(("options", "within"), str(error))
    if "by" in options and not (isinstance(by, str) and by):
        right = "it should be a text such as 'data.result.city'"
        compiler.refuse(("options", "by"), f"{by!r} is no path; {right}")
    return Join(conditions, within, reading(by) if isinstance(by, str) else None).met_by
