"""``$secret{NAME}`` in the data of a config, alone or within a text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from flowdapt.errors import StageError

NAME = r"[A-Za-z0-9_-]+"  #: of a secret, as of any resource

_REFERENCE = re.compile(r"\$secret\{([^{}]*)(\}?)")


class MalformedReference(StageError):
    """A ``$secret{`` in a config does not name a secret."""

    def __init__(self, path: str, text: str, right: str) -> None:
        super().__init__(f"config key {path!r} has {text!r}, {right}")
        self.path = path


def named(data: Mapping[str, Any]) -> dict[str, str]:
    """Return the names of the secrets in a config, each with the path of the first key that has it.

    :raises MalformedReference: one is not written as it should be
    """
    names: dict[str, str] = {}
    for path, text in _texts(data, ""):
        for match in _REFERENCE.finditer(text):
            if not match[2] or not re.fullmatch(NAME, match[1].strip()):
                raise MalformedReference(path, match[0], "and should have $secret{NAME}")
            names.setdefault(match[1].strip(), path)
    return names


def replaced(data: Any, values: Mapping[str, str]) -> Any:
    """Return a config with the values in place; what stands in a value is no reference again."""
    if isinstance(data, dict):
        return {key: replaced(value, values) for key, value in data.items()}
    if isinstance(data, list):
        return [replaced(value, values) for value in data]
    if isinstance(data, str):
        return _REFERENCE.sub(lambda match: values[match[1].strip()], data)
    return data


def _texts(data: Any, path: str) -> Iterator[tuple[str, str]]:
    """Yield every text in a config with its path.

    :raises MalformedReference: a key holds a secret, and would show it wherever keys are shown
    """
    if isinstance(data, str):
        yield path, data
    elif isinstance(data, list):
        for index, value in enumerate(data):
            yield from _texts(value, f"{path}.{index}".lstrip("."))
    elif isinstance(data, dict):
        for key, value in data.items():
            if _REFERENCE.search(str(key)):
                raise MalformedReference(path, str(key), "and a secret can be a value, not a key")
            yield from _texts(value, f"{path}.{key}".lstrip("."))
