"""The OpenAPI document, made of the routes and the models as they are."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from http import HTTPStatus
from typing import Any, Literal

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema
from starlette.routing import BaseRoute, Route

from flowdapt_rest import idempotency, query, sse
from flowdapt_rest.access import needed_role
from flowdapt_rest.forms import LINES
from flowdapt_rest.operations import Operation
from flowdapt_rest.roles import Role
from flowdapt_rest.run_shapes import ItemLine
from flowdapt_rest.shapes import Refusal
from flowdapt_rest.streams import RUN_HEADER

#: What clients of the original were told. Of 3.1 it lacks little but `null` as a type.
OPENAPI, TITLE, VERSION = "3.0.2", "Flowdapt", "v1"
IF_MATCH = r'^(\*|"?[0-9]{1,18}"?)$'
REFERENCE = "#/components/schemas/{model}"
JSON = "application/json"

Shape = dict[str, Any]
Mode = Literal["validation", "serialization"]
IN: Mode = "validation"
OUT: Mode = "serialization"

#: The shapes of a run's items: of what an event says, and of a line.
ITEMS: Mapping[str, Any] = {sse.MEDIA_TYPE: Any, LINES: ItemLine}

#: What each status means wherever it is answered.
MEANINGS: Mapping[int, str] = {
    400: "The body is not valid, or a version is asked for that there is not.",
    401: "A token is needed and there is none, or the one that was sent is not valid.",
    403: "The role of the token is too low, or a web page calls that may not.",
    404: "There is nothing of that name.",
    408: "The body did not come.",
    409: "It was changed meanwhile, or is in a state in which that is not possible.",
    413: "The body is larger than the settings allow.",
    422: "A value of the query is not of its type, or a key stands for another request.",
    500: "The server failed.",
    503: "The server is stopping or draining, or its storage is away.",
}


class OpenApiSchema(GenerateJsonSchema):
    """Schemas in the words of OpenAPI 3.0."""

    def nullable_schema(self, schema: Any) -> Shape:
        """Return a schema that allows null, for which 3.0 has no type."""
        inner = self.generate_inner(schema["schema"])
        # What stands beside a reference is not read.
        return (
            {"allOf": [inner], "nullable": True} if "$ref" in inner else inner | {"nullable": True}
        )

    def literal_schema(self, schema: Any) -> Shape:
        """Return a schema of a few values; 3.0 does not know of one constant."""
        shape: Shape = super().literal_schema(schema)
        return {"enum": [shape.pop("const")], **shape} if "const" in shape else shape

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Tell that fields need no titles, which would be their names again."""
        del schema
        return False

    def field_is_required(self, field: Any, total: bool) -> bool:
        """Tell whether a field is always there; in replies, those with a default are."""
        if self.mode == "serialization" and field["type"] == "model-field":
            return not field.get("serialization_exclude", False)
        return super().field_is_required(field, total)


#: How a token is sent; the second is for clients that know nothing but an address.
SCHEMES: Mapping[str, Shape] = {
    "token": {"type": "http", "scheme": "bearer", "description": "A token as it is."},
    "password": {
        "type": "http",
        "scheme": "basic",
        "description": "A token as the password or as the user's name: `http://:TOKEN@host`.",
    },
}


def document(routes: Iterable[BaseRoute], *, token_needed: bool = False) -> Shape:
    """Return the document of all routes but those that are not to be in it.

    :param token_needed: whether a token is needed here; one may be sent in any case
    """
    shown = [r for r in routes if isinstance(r, Route) and r.include_in_schema]
    schemas = _Schemas([route for route in shown if isinstance(route, Operation)])
    paths: dict[str, Shape] = {}
    for route in shown:
        path = paths.setdefault(re.sub(r"{(\w+):\w+}", r"{\1}", route.path), {})
        if isinstance(route, Operation):
            path[route.method.lower()] = _operation(route, schemas) | _security(route.role)
        else:
            for method in sorted((route.methods or set()) - {"HEAD"}):
                role = needed_role(route, method)
                path[method.lower()] = _unknown(route) | _security(role)
    return {
        "openapi": OPENAPI,
        "info": {"title": TITLE, "version": VERSION},
        "security": [*({name: []} for name in SCHEMES), *([] if token_needed else [{}])],
        "paths": paths,
        "components": {
            "schemas": schemas.definitions,
            "securitySchemes": dict(SCHEMES),
            "responses": {str(status): _refusal(status, schemas) for status in MEANINGS},
        },
    }


class _Schemas:
    """The schemas of all that goes in and out, with those that they have in common."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        used: dict[tuple[str, Mode], Any] = {(str(Refusal), OUT): Refusal}
        for operation in operations:
            for version in operation.versions:
                shape = operation.reply(version)
                used[str(shape), OUT] = shape
            if operation.stream is not None:
                used[str(operation.stream), OUT] = operation.stream
            if operation.items:
                used |= {(str(shape), OUT): shape for shape in ITEMS.values()}
            if operation.body is not None:
                used[str(operation.body), IN] = operation.body
        made, shared = TypeAdapter.json_schemas(
            [(name, mode, TypeAdapter(shape)) for (name, mode), shape in used.items()],
            ref_template=REFERENCE,
            schema_generator=OpenApiSchema,
        )
        self._made: Any = made
        self.definitions: dict[str, Shape] = shared.get("$defs", {})

    def of(self, shape: Any, mode: Mode) -> Shape:
        """Return the schema of what goes in or out, which may refer to others."""
        found: Shape = self._made[str(shape), mode]
        return found


def _operation(operation: Operation, schemas: _Schemas) -> Shape:
    described = _about(operation)
    described["parameters"] += [*_query(operation), *_headers(operation)]
    described["responses"] = {
        "200": _answer(operation, schemas),
        **{str(s): {"$ref": f"#/components/responses/{s}"} for s in _refusals(operation)},
    }
    if operation.body is not None:
        described["requestBody"] = {
            "required": not operation.optional,
            "content": {operation.body_type: {"schema": schemas.of(operation.body, IN)}},
        }
    return described


def _security(role: Role) -> Shape:
    """Return what a caller needs, where that is not the same for all."""
    if role is Role.ANYONE:
        return {"security": [*({name: []} for name in SCHEMES), {}]}
    return {"x-role": role.value}


def _unknown(route: Route) -> Shape:
    """Return what can be said of a route that does not say what goes in and what comes out."""
    return _about(route) | {"responses": {"default": {"description": "As the plugin has it."}}}


def _about(route: Route) -> Shape:
    summary, _, more = inspect.cleandoc(route.endpoint.__doc__ or "").partition("\n\n")
    described: Shape = {
        "operationId": route.name,
        "summary": _marked(summary),
        "tags": [route.path.split("/")[1] or "server"],
        "parameters": [
            {
                "name": name,
                "in": "path",
                "required": True,
                "schema": {"type": "string", "minLength": 1},
            }
            for name in route.param_convertors
        ],
    }
    return described | ({"description": _marked(more)} if more else {})


def _marked(text: str) -> str:
    """Return a docstring as Markdown."""
    return re.sub(r"\s+", " ", text.replace("``", "`"))


# What goes in --------------------------------------------------------------------------------

_READ: Mapping[Any, Shape] = {
    # Clients send what their language makes of a truth value, so what is read is more than JSON's.
    query.boolean: {
        "anyOf": [{"type": "boolean"}, {"type": "string", "enum": [*query.BOOLEANS]}],
    },
    query.integer: {"type": "integer"},
    query.limit: {"type": "integer"},
    query.moment: {"type": "string", "format": "date-time"},
    query.pairs: {"type": "string", "pattern": "^([^=,]+=[^,]*(,[^=,]+=[^,]*)*)?$"},
    query.position: {"type": "integer", "minimum": 0, "maximum": 10**18 - 1},
    query.text: {"type": "string"},
    query.texts: {"type": "array", "items": {"type": "string"}},
    query.uid: {"type": "string", "format": "uuid"},
}


def _query(operation: Operation) -> Iterable[Shape]:
    for value in operation.query:
        default = value.options.get("default")
        if isinstance(default, StrEnum):
            schema: Shape = {"type": "string", "enum": [*map(str, type(default))]}
        elif value.read is query.words:
            known = [*map(str, value.options["known"])]
            schema = {"type": "array", "items": {"type": "string", "enum": known}}
        else:
            schema = dict(_READ[value.read])
        if default is not None:
            schema["default"] = default
        yield {"name": value.name, "in": "query", "description": value.about, "schema": schema}


def _headers(operation: Operation) -> Iterable[Shape]:
    if operation.kind is not None:
        known = [f"{operation.kind}.{version}" for version in operation.versions]
        about = f"The version of the schema; absent, `{known[0]}`, unless `Accept` names another."
        yield _header("X-API-Version", about, {"type": "string", "enum": known})
    if operation.if_match:
        about = "The `ETag` of what is meant to be changed; refused if it was changed meanwhile."
        yield _header("If-Match", about, {"type": "string", "pattern": IF_MATCH})
    if operation.idempotent:
        about = "Made up by the client: with the same key, nothing is done a second time."
        yield _header(idempotency.HEADER, about, {"type": "string", "pattern": idempotency.PATTERN})
    if operation.stream is not None:
        about = "Of a stream: the `id` of the last message that came, to go on behind it."
        yield _header("Last-Event-ID", about, {"type": "string", "pattern": "^[0-9]{0,18}$"})


def _header(name: str, about: str, schema: Shape) -> Shape:
    return {"name": name, "in": "header", "description": about, "schema": schema}


# What comes out ------------------------------------------------------------------------------


def _answer(operation: Operation, schemas: _Schemas) -> Shape:
    content = {
        _media_type(operation, version): {"schema": schemas.of(operation.reply(version), OUT)}
        for version in operation.versions
    }
    if operation.stream is not None:
        # Of messages there is no schema in this version of OpenAPI, so it is that of their data.
        content[sse.MEDIA_TYPE] = {"schema": schemas.of(operation.stream, OUT)}
    if not operation.items:
        return {"description": "Done.", "content": content}
    content |= {name: {"schema": schemas.of(shape, OUT)} for name, shape in ITEMS.items()}
    uid = {
        "description": "Of a stream: the uid of the run whose items it has.",
        "schema": {"type": "string", "format": "uuid"},
    }
    return {"description": "Done.", "headers": {RUN_HEADER: uid}, "content": content}


def _media_type(operation: Operation, version: str) -> str:
    if operation.kind is None:
        return operation.media_type
    return f"application/vnd.flowdapt.ai.{operation.kind}.{version}+json"


def _refusals(operation: Operation) -> Iterable[int]:
    """Return the statuses of an operation that are no success."""
    wrong = {401, 500, 503, *operation.refusals}
    if operation.kind is not None:
        wrong.add(400)
    if "{" in operation.path:
        wrong.add(404)
    if operation.method != "GET" or not Role.READ.covers(operation.role):
        wrong.add(403)
    if operation.query:
        wrong.add(422)
    if operation.if_match:
        wrong |= {400, 409}
    if operation.body is not None:
        wrong |= {400, 408, 413}
    if operation.idempotent:
        wrong.add(422)
    return sorted(wrong)


def _refusal(status: int, schemas: _Schemas) -> Shape:
    schema = schemas.of(Refusal, OUT)
    meaning = f"{HTTPStatus(status).phrase}. {MEANINGS[status]}"
    return {"description": meaning, "content": {JSON: {"schema": schema}}}
