"""Checks what a rule is made of, so that all of it that is at fault is named at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from flowdapt.errors import InvalidResource, nearest
from flowdapt.resources import Model

M = TypeVar("M", bound=Model)


def fault(loc: tuple[str, ...], msg: str) -> dict[str, Any]:
    """Return one element of the errors of an :class:`InvalidResource`."""
    return {"loc": loc, "msg": msg, "type": "value_error"}


def checked(
    model: type[M], data: Mapping[str, Any], at: str, faults: list[dict[str, Any]]
) -> M | None:
    """Return the data as a model; else nothing, and ``faults`` has more of them.

    :param at: where the data stand in the trigger: ``rule`` or ``options``
    """
    try:
        return model.parse(dict(data), where="trigger", strict=True)
    except InvalidResource as error:
        for found in error.errors:
            hint = ""
            if found["type"] == "extra_forbidden":
                known = list(model.model_fields)
                hint = nearest(str(found["loc"][-1]), known) or f"; known are {', '.join(known)}"
            faults.append({**found, "loc": (at, *found["loc"]), "msg": found["msg"] + hint})
        return None
