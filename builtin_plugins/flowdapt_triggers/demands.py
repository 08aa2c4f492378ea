"""What a condition demands of every event that meets it, seen before any comes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flowdapt_triggers.expressions import operands_of


def demanded(given: Any, path: str) -> frozenset[str] | None:
    """Return texts of which an event has one at ``path`` wherever an expression is true.

    :param given: an expression without faults, or a join of some: any of them
    :return: nothing where it may be true whatever stands there; no text where it never is
    """
    if not isinstance(given, Mapping):
        return None
    [(name, operands)] = given.items()
    operands = operands_of(operands)
    if name in ("and", "bool"):
        sets = [found for one in operands if (found := demanded(one, path)) is not None]
        return frozenset.intersection(*sets) if sets else None
    if name in ("or", "all"):
        every = [demanded(one, path) for one in operands]
        known = [found for found in every if found is not None]
        return frozenset[str]().union(*known) if len(known) == len(every) else None
    if name == "eq":
        return _one_of(operands[0], [operands[1]], path) or _one_of(
            operands[1], [operands[0]], path
        )
    if name in ("in", "contains"):
        needle, haystack = operands if name == "in" else reversed(operands)
        return _one_of(needle, haystack, path)
    return None


def _one_of(needle: Any, haystack: Any, path: str) -> frozenset[str] | None:
    if needle not in ({"var": path}, {"var": [path]}):
        return None
    # Within a text, parts of it are found too; and an absent value is equal to null.
    if not isinstance(haystack, list | tuple) or not all(isinstance(one, str) for one in haystack):
        return None
    return frozenset(haystack)
