"""What a request says about a change: how to check it, and what it is meant for."""

from __future__ import annotations

import json
import re
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from flowdapt_rest import bodies, query, shapes
from flowdapt_rest.operations import Query
from flowdapt_rest.versions import VERSIONS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.requests import Request

    from flowdapt.resources import Model, Resource

LONGEST = 200  #: characters of one
WARNINGS = 20  #: at most so many headers about unknown fields; clients limit the size of headers


class FieldValidation(StrEnum):
    """What becomes of fields that a resource does not have."""

    STRICT = "Strict"  #: the request is refused
    WARN = "Warn"  #: they are dropped, and a header names each
    IGNORE = "Ignore"  #: they are dropped


class DryRun(StrEnum):
    """Whether a change is only checked."""

    NONE = "None"
    ALL = "All"  #: everything is checked, and nothing is stored


FIELDS = Query(
    "fieldValidation",
    query.word,
    "Unknown fields are dropped, and a `Warning` header names each; `Ignore` drops them in "
    "silence, `Strict` refuses the request.",
    default=FieldValidation.WARN,
)
DRY_RUN = Query(
    "dryRun",
    query.word,
    "With `All`, everything is checked and answered as always, and nothing is stored.",
    default=DryRun.NONE,
)


def dry_run(request: Request) -> bool:
    """Tell whether a change is only to be checked."""
    return DRY_RUN.of(request) is DryRun.ALL


def expected(request: Request) -> int | None:
    """Return the generation that a client means to change, if it says.

    :raises MalformedHeader: it says no generation
    """
    given = request.headers.get("if-match", "*").strip()
    if given == "*":
        return None
    if not re.fullmatch(r'"?[0-9]{1,18}"?', given):  # many forget the quotes
        raise bodies.MalformedHeader("If-Match", given, 'an ETag of the resource, such as "3"')
    return int(given.strip('"'))


def etag(resource: Resource) -> tuple[str, str]:
    """Return the header that names a resource's generation."""
    return "ETag", f'"{resource.metadata.generation}"'


def of_client(data: dict[str, Any]) -> dict[str, Any]:
    """Return a body without what is not the client's to say."""
    if data.get("version") in VERSIONS:  # resource files carry the version of their schema
        data = {key: value for key, value in data.items() if key != "version"}
    if isinstance(metadata := data.get("metadata"), dict):
        kept = {key: value for key, value in metadata.items() if key not in shapes.GIVEN_BY_SERVER}
        data = {**data, "metadata": kept}
    return data


def warnings(
    model: type[Resource], data: dict[str, Any], policy: FieldValidation
) -> Iterable[tuple[str, str]]:
    """Return the headers that name what was dropped of a body."""
    if policy is not FieldValidation.WARN:
        return
    fields = unknown_fields(model, data)
    texts = [f"unknown field {field}"[:LONGEST] for field in fields[:WARNINGS]]
    if more := fields[WARNINGS:]:
        texts.append(f"{len(more)} more unknown fields")
    for text in texts:
        # JSON's quoting is HTTP's, and escapes what must not stand in a header, such as line ends.
        yield "Warning", f"299 - {json.dumps(text)}"


def unknown_fields(model: type[Model], data: object) -> list[str]:
    """Return the dotted paths of the fields in ``data`` that ``model`` would drop."""
    try:
        model.model_validate(data, extra="forbid")
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False)
        return [".".join(map(str, e["loc"])) for e in faults if e["type"] == "extra_forbidden"]
    return []
