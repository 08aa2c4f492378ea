"""Any value as JSON text, for people, clients and storages."""

from __future__ import annotations

import math
import reprlib
from contextlib import suppress
from dataclasses import fields, is_dataclass
from datetime import date, datetime, time
from enum import Enum
from typing import Any

import orjson

_OPTIONS = orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY
DEEPEST = 200  #: levels of nesting in a JSON text; deeper values become text


def to_json(value: Any) -> bytes:
    """Return any value as JSON text; what JSON has no form for becomes text.

    Tuples and sets are arrays, times and UUIDs their canonical text, NaN and infinities null,
    bytes UTF-8 text, integers beyond 64 bits decimal text.
    """
    try:
        return orjson.dumps(value, _plain, _OPTIONS)
    except (TypeError, ValueError, RecursionError):  # such as a large integer, or half a surrogate
        return orjson.dumps(_rebuilt(value))


def _plain(value: Any) -> Any:
    """Return a JSON-like form of one value that orjson does not know."""
    if isinstance(value, set | frozenset | tuple):
        return list(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode(errors="replace")
    dump = getattr(value, "model_dump", None)  # pydantic's models
    if callable(dump) and not isinstance(value, type):
        for options in ({"mode": "json"}, {}):  # not the first if something has no encoding
            with suppress(Exception):
                return dump(**options)
    to_list = getattr(value, "tolist", None)  # numpy's scalars, and arrays that are not contiguous
    if callable(to_list) and type(value).__module__ == "numpy":
        return to_list()
    return shown(value)


def shown(value: Any) -> str:
    """Return ``str(value)`` as text that has a form in UTF-8, also where making it fails."""
    try:
        text = value if isinstance(value, str) else str(value)
        return text.encode(errors="replace").decode()
    except Exception:  # an object of the user's may fail to say anything
        return f"<{type(value).__name__} that cannot be shown>"


def _rebuilt(value: Any, above: tuple[int, ...] = ()) -> Any:
    """Return ``value`` rebuilt of what orjson always takes; slow, so only where it refused.

    :param above: the identities of the values that this one is in
    """
    if isinstance(value, str):
        return shown(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value) if -(2**63) <= value < 2**64 else str(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if id(value) in above:
        return "..."
    if len(above) == DEEPEST:
        return shown(reprlib.repr(value))
    above = (*above, id(value))
    simple = _simpler(value)
    if isinstance(simple, dict):
        return {_key(key): _rebuilt(part, above) for key, part in simple.items()}
    if isinstance(simple, list):
        return [_rebuilt(part, above) for part in simple]
    return _rebuilt(simple, above)


def _simpler(value: Any) -> Any:
    """Return what orjson makes of a value, or we of what it does not know, one level deep."""
    if isinstance(value, dict | list):
        return value
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if is_dataclass(value) and not isinstance(value, type):
        shown = [field.name for field in fields(value) if not field.name.startswith("_")]
        return {name: getattr(value, name) for name in shown}
    return _plain(value)


def _key(key: Any) -> str:
    plain = _rebuilt(key)
    if isinstance(plain, bool) or plain is None:
        return {True: "true", False: "false", None: "null"}[plain]
    return plain if isinstance(plain, str) else shown(key)
