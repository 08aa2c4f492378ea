"""What a request carries: its body as JSON, and the values of its query."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar
from uuid import UUID

import orjson

from flowdapt.errors import FlowdaptError
from flowdapt.payloads import DEEPEST

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.requests import Request

    from flowdapt_rest.limits import Limits

MOST = 2**31 - 1  #: of whole numbers in a query; no storage counts further

MOST_DIGITS = 20  #: of an integer of 64 bits, with its sign

_MANY_DIGITS = re.compile(rb"\d{19}")
_Word = TypeVar("_Word", bound=StrEnum)


class BodyTooLarge(FlowdaptError):
    """The body has more bytes than the settings allow."""

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"the request body is larger than {limit} bytes, the limit that rpc.api.max_body sets"
        )
        self.limit = limit


class BodyTooSlow(FlowdaptError):
    """The body arrives so slowly that it is not waited for.

    :param headers: of the reply; what is still to come would be taken for the next request
    """

    headers: ClassVar[Mapping[str, str]] = {"Connection": "close"}

    def __init__(self, size: int, seconds: float) -> None:
        super().__init__(f"{size} bytes of the request body have come in {seconds:.0f} seconds")


class MalformedBody(FlowdaptError):
    """The body is not the JSON that is needed."""


class MalformedQuery(FlowdaptError):
    """A value in the query is not of its type.

    :param errors: one mapping, with ``loc``, ``msg`` and ``type``, as of an invalid resource
    """

    def __init__(self, name: str, value: str, wanted: str) -> None:
        super().__init__(f"query parameter {name!r} is {value!r}, and must be {wanted}")
        self.errors = [{"loc": ("query", name), "msg": f"must be {wanted}", "type": "value_error"}]


class MalformedHeader(FlowdaptError):
    """A header of the request is not what it must be."""

    def __init__(self, name: str, value: str, wanted: str) -> None:
        super().__init__(f"header {name} is {value!r:.50}, and must be {wanted}")


# The body ------------------------------------------------------------------------------------


async def read(request: Request) -> bytes:
    """Return the whole body; no more than the limit is ever held.

    :raises BodyTooLarge: it is longer, announced or not
    :raises BodyTooSlow: it does not come at the pace that is needed
    """
    limits: Limits = request.app.state.limits
    limit = limits.body
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and (len(announced) > len(str(limit)) or int(announced) > limit):
        raise BodyTooLarge(limit)
    parts, size = [], 0
    clock = asyncio.get_running_loop().time
    begun = clock()
    try:
        async with asyncio.timeout(limits.body_seconds) as patience:
            async for part in request.stream():
                size += len(part)
                if size > limit:
                    raise BodyTooLarge(limit)
                parts.append(part)
                # By the whole that has come, or a byte now and then would hold a place for days.
                patience.reschedule(begun + limits.body_seconds + size / limits.pace)
    except TimeoutError:
        raise BodyTooSlow(size, clock() - begun) from None
    return b"".join(parts)


async def read_object(request: Request) -> dict[str, Any]:
    """Return the body as a JSON object, whatever the content type says.

    :raises MalformedBody: it is empty, no JSON, no object, or nested too deeply
    """
    body = await read(request)
    if not body.strip():
        raise MalformedBody("the request body is empty, and must be a JSON object")
    return _object(body)


async def read_input(request: Request) -> dict[str, Any]:
    """Return the body as the input of a run; nothing at all is an input without values.

    :raises MalformedBody: as :func:`read_object` does
    """
    body = await read(request)
    return _object(body) if body and not body.isspace() else {}


def _within_64_bits(digits: str) -> int:
    """Refuse integers that would arrive as another number."""
    if len(digits) > MOST_DIGITS or not -(2**63) <= int(digits) < 2**64:
        raise MalformedBody(
            f"the request body holds the integer {digits:.30}, which has more than 64 bits; "
            "send it as a text"
        )
    return int(digits)


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(body)
        if _MANY_DIGITS.search(body):  # perhaps in a text
            json.loads(body, parse_int=_within_64_bits)
    except orjson.JSONDecodeError as error:
        raise MalformedBody(f"the request body is not JSON: {error}") from None
    if not isinstance(value, dict):
        shapes = {list: "a list", str: "a text", type(None): "null"}
        shape = shapes.get(type(value), f"{value!r:.40}")
        raise MalformedBody(f"the request body must be a JSON object, not {shape}")
    # Counting the brackets is quick, and few bodies have so many that their nesting is measured.
    if body.count(b"{") + body.count(b"[") > DEEPEST and _depth(value) > DEEPEST:
        raise MalformedBody(f"the request body is nested deeper than {DEEPEST} levels")
    return value


def _depth(value: Any) -> int:
    level, depth = [value], 0
    while level := [part for part in level if isinstance(part, dict | list)]:
        depth += 1
        level = [p for part in level for p in (part.values() if isinstance(part, dict) else part)]
    return depth


# The query -----------------------------------------------------------------------------------

#: what stands for a truth value, in any case
BOOLEANS: Mapping[str, bool] = {
    **dict.fromkeys(("true", "1", "yes", "on"), True),
    **dict.fromkeys(("false", "0", "no", "off"), False),
}


def text(request: Request, name: str) -> str | None:
    """Return a value of the query as it is, if there is one."""
    # Most requests have no query, and need not pay for reading it.
    return request.query_params.get(name) if request.scope["query_string"] else None


def boolean(request: Request, name: str, *, default: bool) -> bool:
    """Return a truth value of the query, as Python, JavaScript and people write it.

    :raises MalformedQuery: it is something else
    """
    value = text(request, name)
    if value is None:
        return default
    if value.lower() not in BOOLEANS:
        raise MalformedQuery(name, value, "true or false")
    return BOOLEANS[value.lower()]


def integer(request: Request, name: str, *, default: int) -> int:
    """Return a whole number of the query; one beyond :data:`MOST` counts as that.

    :raises MalformedQuery: it is something else
    """
    value = text(request, name)
    if value is None:
        return default
    if not re.fullmatch(r"[+-]?[0-9]{1,100}", value.strip()):
        raise MalformedQuery(name, value, "a whole number")
    return max(-MOST, min(int(value), MOST))


def moment(request: Request, name: str) -> datetime | None:
    """Return a time of the query, aware; one without a zone is in UTC.

    :raises MalformedQuery: it is no time
    """
    value = text(request, name)
    if value is None:
        return None
    try:
        # A `+` of an offset that a client did not escape arrives as a blank.
        time = datetime.fromisoformat(re.sub(r" (?=\d\d:\d\d$)", "+", value.strip()))
    except ValueError:
        raise MalformedQuery(name, value, "a time such as 2031-04-05T06:07:08") from None
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def words(request: Request, name: str, *, known: type[_Word]) -> Sequence[_Word]:
    """Return words of the query, which may stand in several values, or in one with commas.

    :raises MalformedQuery: one of them is none of those that are known
    """
    if not request.scope["query_string"]:
        return ()
    given = ",".join(request.query_params.getlist(name)).split(",")
    try:
        return [known(part.strip()) for part in given if part.strip()]
    except ValueError:
        wanted = ", ".join(repr(str(option)) for option in known)
        raise MalformedQuery(name, ",".join(given), f"one or more of {wanted}") from None


def position(request: Request, name: str) -> int | None:
    """Return a position in a log, counted from 1; 0 is before the first.

    :raises MalformedQuery: it is something else
    """
    value = text(request, name)
    if value is None:
        return None
    if not re.fullmatch(r"[0-9]{1,18}", value):
        raise MalformedQuery(name, value, "a position, counted from 1")
    return int(value)


def uid(request: Request, name: str) -> UUID | None:
    """Return a uid of the query.

    :raises MalformedQuery: it is something else
    """
    value = text(request, name)
    if value is None:
        return None
    if not re.fullmatch(r"(?i)[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", value):
        raise MalformedQuery(name, value, "a uid")
    return UUID(value)


def pairs(request: Request, name: str) -> Mapping[str, str]:
    """Return values under their keys, which the query has as ``key=value,key=value``.

    :raises MalformedQuery: it is something else
    """
    value = text(request, name) or ""
    parts = [part.partition("=") for part in value.split(",") if part]
    if not all(key and sign for key, sign, _ in parts):
        raise MalformedQuery(name, value, "pairs such as key=value,key=value")
    return {key: value for key, _, value in parts}


def texts(request: Request, name: str) -> Sequence[str]:
    """Return all values of the query under a name; those that are empty do not count."""
    if not request.scope["query_string"]:
        return ()
    return [value for value in request.query_params.getlist(name) if value]


def word(request: Request, name: str, *, default: _Word) -> _Word:
    """Return one of a few words of the query.

    :raises MalformedQuery: it is none of them
    """
    value = text(request, name)
    if value is None:
        return default
    try:
        return type(default)(value)
    except ValueError:
        wanted = " or ".join(repr(str(option)) for option in type(default))
        raise MalformedQuery(name, value, wanted) from None
