"""Holds replies to the OpenAPI document: nothing is answered that it does not know."""

from __future__ import annotations

from functools import cache
from typing import Any

import httpx
import jsonschema_rs
from flowdapt_rest import openapi
from flowdapt_rest.operations import Operation
from starlette.applications import Starlette

_DOCUMENTS: dict[tuple[str, ...], Replies] = {}


class Replies:
    """What the operations of an application answer."""

    def __init__(self, app: Starlette) -> None:
        self.operations = [route for route in app.routes if isinstance(route, Operation)]
        self.document = openapi.document(app.routes)
        self.validator = cache(self._validator)

    @classmethod
    def of(cls, app: Starlette) -> Replies:
        """Return those of an application; one with the same routes has the same."""
        key = tuple(getattr(route, "path", "") for route in app.routes)
        if key not in _DOCUMENTS:
            _DOCUMENTS[key] = cls(app)
        return _DOCUMENTS[key]

    async def check(self, response: httpx.Response) -> None:
        """Hold a reply to what its operation says."""
        path, method = response.request.url.path, response.request.method
        for operation in self.operations:
            if operation.method == method and operation.path_regex.match(path):
                media_type = response.headers["content-type"]
                await response.aread()
                if not media_type.endswith("json"):
                    return
                self.validator(operation.name, response.status_code, media_type).validate(
                    response.json()
                )
                return

    def _validator(self, name: str, status: int, media_type: str) -> Any:
        (described,) = (
            operation
            for path in self.document["paths"].values()
            for operation in path.values()
            if operation["operationId"] == name
        )
        assert str(status) in described["responses"], f"{name} may answer {status}"
        response = described["responses"][str(status)]
        if "$ref" in response:
            response = self.document["components"]["responses"][str(status)]
        schema = response["content"][media_type]["schema"]
        components = {"schemas": self.document["components"]["schemas"]}
        return jsonschema_rs.validator_for(
            _closed({"allOf": [schema], "components": components}), validate_formats=True
        )


def _closed(schema: Any) -> Any:
    """Return a schema of OpenAPI 3.0 in the words of others, with no properties but those named."""
    if isinstance(schema, list):
        return [_closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: _closed(part) for key, part in schema.items() if key != "nullable"}
    if made.get("type") == "object" and isinstance(made.get("properties"), dict):
        made.setdefault("additionalProperties", False)
    return {"anyOf": [made, {"type": "null"}]} if schema.get("nullable") is True else made
