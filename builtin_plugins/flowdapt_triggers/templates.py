"""Texts in an action that name facts, such as ``{{ event.data.result.city }}``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from flowdapt.errors import nearest

ROOTS = ("event", "trigger", "time", "input")  #: what a path may begin with

_PART = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_PATH = re.compile(r"\s*(\w+(?:\.[\w-]+)*)\s*")

Place = tuple[str | int, ...]


def faults(value: Any, place: Place = ()) -> Iterator[tuple[Place, str]]:
    """Yield what is wrong with the texts within a value, each with its place."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from faults(item, (*place, str(key)))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from faults(item, (*place, index))
    elif isinstance(value, str):
        for part in _PART.findall(value):
            match = _PATH.fullmatch(part)
            if match is None:
                yield place, f"'{{{{{part}}}}}' is no path such as '{{{{ event.data.city }}}}'"
            elif (root := match[1].partition(".")[0]) not in ROOTS:
                known = nearest(root, ROOTS) or f"; it may begin with {', '.join(ROOTS)}"
                yield place, f"'{{{{{part}}}}}' begins with {root!r}{known}"


def filled(value: Any, facts: Mapping[str, Any]) -> Any:
    """Return a value in which the texts have what they name.

    A text that is one path alone becomes what is there, of whatever type; within a longer text it
    becomes text. What is not there is null, and nothing within a text.
    """
    if isinstance(value, Mapping):
        return {key: filled(item, facts) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [filled(item, facts) for item in value]
    if not isinstance(value, str) or "{{" not in value:
        return value
    if (alone := _PART.fullmatch(value.strip())) and _PATH.fullmatch(alone[1]):
        return at(alone[1].strip(), facts)
    return _PART.sub(lambda match: _text(at(match[1].strip(), facts)), value)


def at(path: str, facts: Any) -> Any:
    """Return what is at a path; nothing where there is none."""
    for name in path.split("."):
        if isinstance(facts, Mapping):
            facts = facts.get(name)
        elif isinstance(facts, Sequence) and not isinstance(facts, str) and name.isdecimal():
            facts = facts[int(name)] if int(name) < len(facts) else None
        else:
            return None
    return facts


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, default=str)
