"""Routes over resources, written once for every kind, the kernel's and those of plugins."""

from __future__ import annotations

import json
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any

from flowdapt.resources import Resource, unknown_fields
from flowdapt_rest import bodies, render, shapes
from flowdapt_rest.operations import Operation, Query, negotiated
from flowdapt_rest.versions import VERSIONS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from flowdapt.engine import Engine

WARNINGS = 20  #: at most so many headers about unknown fields; clients limit the size of headers


class FieldValidation(StrEnum):
    """What becomes of fields that a resource does not have."""

    STRICT = "Strict"  #: the request is refused
    WARN = "Warn"  #: they are dropped, and a header names each
    IGNORE = "Ignore"  #: they are dropped


FIELDS = Query(
    "fieldValidation",
    bodies.word,
    "Unknown fields are dropped, and a `Warning` header names each; `Ignore` drops them in "
    "silence, `Strict` refuses the request.",
    default=FieldValidation.WARN,
)


class ResourceRoutes:
    """The routes of one kind."""

    def __init__(self, engine: Engine, kind: str, model: type[Resource]) -> None:
        self.engine, self.kind, self.model = engine, kind, model

    def routes(self) -> list[Operation]:
        """Return the routes, each named as the operation that it is."""
        collection = f"/{self.model.collection}/"
        one = collection + "{identifier}"
        plural = self.model.collection
        single = plural.removesuffix("s")
        reading = partial(Operation, kind=self.kind, reply=partial(shapes.resource, self.model))
        writing = partial(reading, query=[FIELDS], body=shapes.given(self.model))
        listing = partial(Operation, kind=self.kind, reply=partial(shapes.resources, self.model))
        return [
            reading(f"GET {one}", self.get, name=f"get_{single}"),
            listing(f"GET {collection}", self.list, name=f"list_{plural}"),
            writing(f"POST {collection}", self.create, name=f"create_{single}"),
            writing(f"PUT {one}", self.replace, name=f"update_{single}", refusals=[409]),
            reading(f"DELETE {one}", self.delete, name=f"delete_{single}"),
        ]

    async def list(self, request: Request) -> Response:
        """Return all resources of the kind, in the order in which they were created."""
        schema = negotiated(request)
        return schema.reply(render.resources(await self.engine.list(self.model), schema.version))

    async def get(self, request: Request) -> Response:
        """Return one resource."""
        schema = negotiated(request)
        resource = await self.engine.get(self.model, request.path_params["identifier"])
        return schema.reply(render.resource(resource, schema.version))

    async def create(self, request: Request) -> Response:
        """Store a new resource and return it."""
        schema = negotiated(request)
        policy = FIELDS.of(request)
        data = _of_client(await bodies.read_object(request))
        strict = policy is FieldValidation.STRICT
        resource = await self.engine.create(self.model, data, strict=strict)
        warnings = self._warnings(data, policy)
        return schema.reply(render.resource(resource, schema.version), warnings=warnings)

    async def replace(self, request: Request) -> Response:
        """Store a resource in place of one that there is, and return it."""
        schema = negotiated(request)
        policy = FIELDS.of(request)
        data = _of_client(await bodies.read_object(request))
        strict = policy is FieldValidation.STRICT
        name = request.path_params["identifier"]
        resource = await self.engine.replace(self.model, name, data, strict=strict)
        warnings = self._warnings(data, policy)
        return schema.reply(render.resource(resource, schema.version), warnings=warnings)

    async def delete(self, request: Request) -> Response:
        """Remove a resource and return it."""
        schema = negotiated(request)
        resource = await self.engine.delete(self.model, request.path_params["identifier"])
        return schema.reply(render.resource(resource, schema.version))

    def _warnings(self, data: dict[str, Any], policy: FieldValidation) -> Sequence[str]:
        if policy is not FieldValidation.WARN:
            return []
        fields = unknown_fields(self.model, data)
        texts = [f"unknown field {field}" for field in fields[:WARNINGS]]
        if more := fields[WARNINGS:]:
            texts.append(f"{len(more)} more unknown fields")
        # JSON's quoting is HTTP's, and escapes what must not stand in a header, such as line ends.
        return [f"299 - {json.dumps(text)}" for text in texts]


def _of_client(data: dict[str, Any]) -> dict[str, Any]:
    """Return a body without what is not the client's to say."""
    if data.get("version") in VERSIONS:  # resource files carry the version of their schema
        data = {key: value for key, value in data.items() if key != "version"}
    if isinstance(metadata := data.get("metadata"), dict):
        kept = {key: value for key, value in metadata.items() if key not in shapes.GIVEN_BY_SERVER}
        data = {**data, "metadata": kept}
    return data
