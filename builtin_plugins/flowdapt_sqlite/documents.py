"""Python values as JSON text and back; whatever they are, encoding them succeeds."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Set
from typing import Any

import orjson
from pydantic_core import from_json, to_jsonable_python

DEPTH = 200  #: containers nested deeper become text; Python's own decoder stops at about 1,000


def encode(value: Any) -> bytes:
    """Return ``value`` as JSON text.

    Sets and tuples become arrays, times and ids text, and NaN null. What has no place in JSON, such
    as an object, a lone surrogate or a list inside itself, becomes a text that describes it.
    Integers are kept whatever their size.
    """
    try:
        return orjson.dumps(value, default=_jsonable)
    except (TypeError, ValueError, RecursionError):
        # orjson refuses integers beyond 64 bits, lone surrogates, keys that are no text, and depth.
        return json.dumps(_plain(value, DEPTH, frozenset())).encode()


def decode(text: bytes) -> Any:
    """Return the value of JSON text, with integers of any size."""
    try:
        return from_json(text)
    except ValueError:  # it nests less deeply than orjson and Python do
        return json.loads(text)


def storable(text: str) -> str:
    """Return ``text`` with lone surrogates spelled out, because no database column takes them."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _jsonable(value: Any) -> Any:
    return to_jsonable_python(value, fallback=_described)


def _described(value: Any) -> str:
    try:
        return str(value)
    except Exception:  # a stranger's `__str__`, or containers nested too deeply for it
        return f"<{type(value).__qualname__}>"


def _plain(value: Any, depth: int, around: frozenset[int]) -> Any:
    """Return ``value`` as plain JSON data.

    :param around: ids of the containers that ``value`` is in
    """
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, (str, float)):
        return _leaf(value)
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).decode("utf-8", "backslashreplace")
    if depth == 0 or id(value) in around:
        return f"<{type(value).__qualname__}>"
    around |= {id(value)}
    if isinstance(value, Mapping):
        return {
            storable(_described(key)): _plain(item, depth - 1, around)
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple, Set)):
        return [_plain(item, depth - 1, around) for item in value]
    return _plain(_opened(value), depth - 1, around)


def _leaf(value: str | float) -> str | float | None:
    if isinstance(value, str):
        return storable(value)
    return float(value) if math.isfinite(value) else None


def _opened(value: Any) -> Any:
    """Return a model, a dataclass or a time as simpler data, anything else as text."""
    try:
        return _jsonable(value)
    except Exception:  # such as bytes within it that are no UTF-8
        return _described(value)
