"""What people compute inside their files: ``$env{HOST}``, ``$upper{$ref{defaults.region}}``.

An expression may stand alone, then its value keeps its type, or inside a text, then its value is
written into the text. What an expression yields is never read as an expression again, so a variable
cannot smuggle one in. ``$secret{NAME}`` stays as it is written, for the worker that opens it; so no
expression can be around it.
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flowdapt.errors import FlowdaptError, nearest
from flowdapt_cli.reading.errors import ExpressionError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Loc = tuple[str | int, ...]

_TOKEN = re.compile(r"\$([A-Za-z]\w*)\{|[{}]")


def resolve(
    value: Any, *, root: Any, read_file: Callable[[str], Any], environ: Mapping[str, str]
) -> Any:
    """Return ``value`` with every expression in its texts replaced by what it yields.

    :param root: where ``$ref{a.b}`` looks; usually ``value`` itself
    :param read_file: returns the resolved content of the file that ``$ref{file|a.b}`` names
    :param environ: where ``$env{NAME}`` looks
    :raises ExpressionError: an operation is unknown, or what it asks for is missing
    """
    return _Resolver(root, read_file, environ).value(value, ())


class _Later(str):
    """A text with a secret that is opened where a stage runs."""

    __slots__ = ()


@dataclass
class _Resolver:
    root: Any
    read_file: Callable[[str], Any]
    environ: Mapping[str, str]
    referring: list[str] = field(default_factory=list)  # the references that are being followed

    def value(self, value: Any, loc: Loc) -> Any:
        if isinstance(value, dict):
            return {key: self.value(item, (*loc, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [self.value(item, (*loc, index)) for index, item in enumerate(value)]
        if isinstance(value, str):
            value = self.text(value, 0, loc)[0]
        return str(value) if isinstance(value, _Later) else value

    def text(self, text: str, start: int, loc: Loc, within: str = "") -> tuple[Any, int]:
        """Resolve from ``start`` to the brace that closes ``within``, or to the end."""
        parts: list[Any] = []
        position, depth = start, 0
        while token := _TOKEN.search(text, position):
            position = token.end()
            if token[1]:
                parts.append(text[start : token.start()])
                value, start = self.call(token[1], text, token, loc)
                parts.append(value)
                position = start
            elif within and token[0] == "}" and not depth:
                parts.append(text[start : token.start()])
                return _joined(parts), position
            else:
                depth += 1 if token[0] == "{" else -1
        if within:
            raise ExpressionError(loc, f"${within}{{ is never closed; add '}}' to {text!r}")
        return _joined([*parts, text[start:]]), len(text)

    def call(self, name: str, text: str, token: re.Match[str], loc: Loc) -> tuple[Any, int]:
        if name == "secret":
            end = (text.find("}", token.end()) + 1) or len(text)
            return _Later(text[token.start() : end]), end
        argument, end = self.text(text, token.end(), loc, name)
        written = text[token.start() : end]
        if isinstance(argument, _Later):
            raise ExpressionError(
                loc,
                f"{written}: a secret cannot be within another expression, because it is opened "
                "only where a stage runs; store the whole value as a secret",
            )
        operations = {"env": self.env, "ref": self.ref, **_OPERATIONS}
        if name not in operations:
            advice = nearest(name, operations) or f"; there are {', '.join(operations)}"
            raise ExpressionError(loc, f"{written}: no operation named {name!r}{advice}")
        try:
            value = operations[name](_written(argument))
        except LookupError as error:
            raise ExpressionError(loc, f"{written}: {error.args[0]}") from None
        except ValueError as error:
            raise ExpressionError(loc, f"{written}: {error}") from None
        return _Later(value) if isinstance(value, str) and "$secret{" in value else value, end

    def env(self, text: str) -> str:
        name, has_default, default = (part.strip() for part in text.partition(","))
        if name in self.environ or has_default:
            return self.environ.get(name, default)
        advice = nearest(name, self.environ) or f"; set it, or write $env{{{name},default}}"
        raise LookupError(f"no variable named {name!r} is set{advice}")

    def ref(self, text: str) -> Any:
        file, _, path = (part.strip() for part in text.rpartition("|"))
        keys = path.split(".") if path != "*" else []
        if file:
            try:
                return _at(self.read_file(file), keys)
            except FlowdaptError as error:
                raise LookupError(str(error)) from None
        if path in self.referring:
            raise LookupError(f"refers to itself: {' -> '.join([*self.referring, path])}")
        self.referring.append(path)
        resolved = self.value(_at(self.root, keys), tuple(keys))
        self.referring.pop()
        return resolved


def _at(data: Any, keys: list[str]) -> Any:
    for key in keys:
        if isinstance(data, list) and key.isdecimal() and int(key) < len(data):
            data = data[int(key)]
        elif isinstance(data, dict) and key in data:
            data = data[key]
        else:
            advice = nearest(key, map(str, data)) if isinstance(data, dict) else ""
            raise LookupError(f"nothing is at {'.'.join(keys)!r}{advice}")
    return data


def _joined(parts: list[Any]) -> Any:
    parts = [part for part in parts if part != ""]
    if len(parts) == 1:
        return parts[0]
    text = "".join(map(_written, parts))
    return _Later(text) if any(isinstance(part, _Later) for part in parts) else text


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _sum(text: str) -> float:
    numbers = [float(part) for part in text.split(",")]
    return int(sum(numbers)) if all(map(float.is_integer, numbers)) else sum(numbers)


_OPERATIONS: dict[str, Callable[[str], Any]] = {
    "upper": str.upper,
    "lower": str.lower,
    "sum": _sum,
    "reverse": lambda text: "".join(part[::-1] for part in text.split(",")),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "unbase64": lambda text: base64.b64decode(text, validate=True).decode(),
}
