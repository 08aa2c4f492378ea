"""How answers become what they should be."""

from __future__ import annotations

from typing import TypeVar

from pydantic import ValidationError

from flowdapt.resources import Model
from flowdapt_client.errors import Unreadable

_M = TypeVar("_M", bound=Model)


def read(shape: type[_M], answer: object) -> _M:
    """Return an answer as what it should be.

    :raises Unreadable: it is something else
    """
    try:
        return shape.model_validate(answer)
    except ValidationError as error:
        raise _unreadable(shape, error) from None


def read_text(shape: type[_M], text: str) -> _M:
    """Return JSON text as what it should be.

    :raises Unreadable: it is something else
    """
    try:
        return shape.model_validate_json(text)
    except ValidationError as error:
        raise _unreadable(shape, error) from None


def read_list(shape: type[_M], answer: object) -> list[_M]:
    """Return an answer as a list of what it should be.

    :raises Unreadable: it is something else
    """
    if not isinstance(answer, list):
        raise Unreadable(f"the server answers {answer!r:.80}, where this client reads a list")
    return [read(shape, one) for one in answer]


def _unreadable(shape: type[Model], error: ValidationError) -> Unreadable:
    fault = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(map(str, fault["loc"])) or "all of it"
    return Unreadable(
        f"the server answers what this client cannot read as {shape.__name__}: "
        f"{where}: {fault['msg']}; are both of the same version?"
    )
