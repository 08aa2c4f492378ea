"""The values of a request's query, each read as what it must be."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

from flowdapt.errors import FlowdaptError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.requests import Request

MOST = 2**31 - 1  #: of whole numbers; no storage counts further

_Word = TypeVar("_Word", bound=StrEnum)


class Order(StrEnum):
    """What comes first in a list of what happened."""

    NEWEST = "newest"
    OLDEST = "oldest"


class MalformedQuery(FlowdaptError):
    """A value in the query is not of its type.

    :param errors: one mapping, with ``loc``, ``msg`` and ``type``, as of an invalid resource
    """

    def __init__(self, name: str, value: str, wanted: str) -> None:
        super().__init__(f"query parameter {name!r} is {value!r}, and must be {wanted}")
        self.errors = [{"loc": ("query", name), "msg": f"must be {wanted}", "type": "value_error"}]


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


def limit(request: Request, name: str, *, default: int, most: int) -> int:
    """Return how many parts of a list are wanted; below 1 means as many as may be.

    :raises MalformedQuery: it is no whole number
    """
    wanted = integer(request, name, default=default)
    return min(wanted, most) if wanted > 0 else most


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
