"""The body of a request, as JSON."""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING, Any, ClassVar

import orjson

from flowdapt.errors import FlowdaptError
from flowdapt.texts import DEEPEST

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

    from flowdapt_rest.limits import Limits

MOST_DIGITS = 20  #: of an integer of 64 bits, with its sign

MOST_PARTS = 500_000  #: lists and objects in a body; each takes as long as a hundred bytes
AT_ONCE = 256 * 1024  #: bytes that are parsed within the event loop

_MANY_DIGITS = re.compile(rb"\d{19}")


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
    return await _parsed(body)


async def read_input(request: Request) -> dict[str, Any]:
    """Return the body as the input of a run; nothing at all is an input without values.

    :raises MalformedBody: as :func:`read_object` does
    """
    body = await read(request)
    return await _parsed(body) if body and not body.isspace() else {}


def _within_64_bits(digits: str) -> int:
    """Refuse integers that would arrive as another number."""
    if len(digits) > MOST_DIGITS or not -(2**63) <= int(digits) < 2**64:
        raise MalformedBody(
            f"the request body holds the integer {digits:.30}, which has more than 64 bits; "
            "send it as a text"
        )
    return int(digits)


async def _parsed(body: bytes) -> dict[str, Any]:
    """Return a body as an object; others have their turn while a large one is looked at."""
    return _object(body) if len(body) <= AT_ONCE else await asyncio.to_thread(_object, body)


def _object(body: bytes) -> dict[str, Any]:
    opened = body.count(b"{") + body.count(b"[")
    if opened > MOST_PARTS:
        raise MalformedBody(
            f"the request body holds {opened} lists and objects, and may hold {MOST_PARTS}; "
            "send large data by reference, or as a text"
        )
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
    if opened > DEEPEST and _depth(value) > DEEPEST:
        raise MalformedBody(f"the request body is nested deeper than {DEEPEST} levels")
    return value


def _depth(value: Any) -> int:
    level, depth = [value], 0
    while level := [part for part in level if isinstance(part, dict | list)]:
        depth += 1
        level = [p for part in level for p in (part.values() if isinstance(part, dict) else part)]
    return depth
