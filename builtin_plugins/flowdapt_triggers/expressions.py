"""The language of conditions: an object has one key, the operator, and its operands as value.

Operands are literals or such objects again. Before any event comes, an expression is made into
functions, and whatever can be seen to be wrong with it is told, all at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flowdapt.errors import nearest
from flowdapt_triggers.operators import Clock, Operand, Operator, Unfit, Value, operators

Loc = tuple[str | int, ...]

DEEPEST = 50  #: levels of objects and lists within one another

_RIGHT = "should be an object with one key, the operator"


def operands_of(given: Any) -> list[Any]:
    """Return the operands of an operator: a single one may stand without a list."""
    return list(given) if isinstance(given, list | tuple) else [given]


class Compiler:
    """Makes functions of expressions.

    :ivar faults: what is wrong with them: ``loc``, ``msg`` and ``type`` of each
    """

    def __init__(self, clock: Clock) -> None:
        self._operators = operators(clock)
        self.faults: list[dict[str, Any]] = []

    def refuse(self, loc: Loc, fact: str) -> None:
        """Note one more fault."""
        self.faults.append({"loc": loc, "msg": fact, "type": "value_error"})

    def compile(self, given: Any, loc: Loc) -> Value:
        """Return the function of an expression; where there are faults, it is good for nothing.

        :param loc: the path of the expression within the trigger's ``spec``
        """
        if not isinstance(given, Mapping):
            self.refuse(loc, f"{given!r} is no condition; it {_RIGHT}")
        return self._operand(given, loc, 1).read

    def _operand(self, given: Any, loc: Loc, depth: int) -> Operand:
        if not isinstance(given, Mapping | list | tuple):
            return _literal(given)
        if depth > DEEPEST:
            self.refuse(loc, f"is nested more than {DEEPEST} deep; it should be flatter")
            return _literal(None)
        if isinstance(given, Mapping):
            return Operand(self._expression(given, loc, depth))
        items = [self._operand(item, (*loc, n), depth + 1) for n, item in enumerate(given)]
        if all(item.literal for item in items):
            return _literal([item.value for item in items])
        reads = [item.read for item in items]
        return Operand(lambda event: [read(event) for read in reads])

    def _expression(self, given: Mapping[Any, Any], loc: Loc, depth: int) -> Value:
        if len(given) != 1:
            keys = ", ".join(repr(key) for key in given)
            fact = f"has the keys {keys}" if keys else "is empty"
            self.refuse(loc, f"{fact}; it {_RIGHT}")
        made = _literal(None).read
        for name, operands in given.items():
            made = self._applied(str(name), operands, (*loc, str(name)), depth)
        return made

    def _applied(self, name: str, given: Any, loc: Loc, depth: int) -> Value:
        listed = isinstance(given, list | tuple)
        locs = [(*loc, n) if listed else loc for n in range(len(operands_of(given)))]
        pairs = zip(operands_of(given), locs, strict=True)
        operands = [self._operand(operand, at, depth + 1) for operand, at in pairs]
        found = self._operators.get(name)
        if found is None:
            self.refuse(loc, self._unknown(name))
        elif fact := _miscounted(name, found, len(operands)):
            self.refuse(loc, fact)
        else:
            try:
                return found.make(*operands)
            except Unfit as unfit:
                self.refuse(locs[unfit.position], str(unfit))
        return _literal(None).read

    def _unknown(self, name: str) -> str:
        if name == "all":
            return "'all' should be at the top of the rule, and not within another operator"
        others = f"; there are {', '.join(self._operators)}, and all at the top"
        return f"no operator is named {name!r}{nearest(name, self._operators) or others}"


def _literal(value: Any) -> Operand:
    return Operand(lambda _event: value, True, value)


def _miscounted(name: str, operator: Operator, count: int) -> str:
    least, most = operator.least, operator.most
    if least <= count and (most is None or count <= most):
        return ""
    if most == 0:
        return f"{name!r} takes no operands, and should be written as {{{name}: []}}"
    many = f"at least {least}" if most is None else str(least)
    return f"{name!r} takes {many} operand{'s' if least > 1 else ''}, and not {count}"
