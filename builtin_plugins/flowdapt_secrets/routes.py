"""Routes over secrets, for administrators. No reply ever holds a value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import orjson
from pydantic import AfterValidator
from starlette.routing import Route

from flowdapt.errors import InvalidResource
from flowdapt.resources import Metadata, Model, Name
from flowdapt_secrets.keeper import KIND, Keeper

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from flowdapt.server import Server

VERSIONS = ("v1",)
MOST_BYTES = 64 * 1024  #: of a value
SHOWN = {"name", "created_at", "updated_at"}


class AdminRoute(Route):
    """A route for administrators alone."""

    role = "admin"  #: what the one who asks has to be, where the server knows roles


def routes(server: Server) -> list[Route]:
    """Return the routes over the secrets of a server."""
    made = SecretRoutes(Keeper(server.storage, server.settings.app_dir))
    one = "/secrets/{name}"
    return [
        AdminRoute("/secrets/", made.list, methods=["GET"], name="list_secrets"),
        AdminRoute(one, made.put, methods=["PUT"], name="put_secret"),
        AdminRoute(one, made.delete, methods=["DELETE"], name="delete_secret"),
    ]


def _checked(value: str) -> str:
    if not 0 < len(value.encode()) <= MOST_BYTES:
        size = "is empty" if not value else f"has {len(value.encode())} bytes"
        raise ValueError(f"{size}, and must have from 1 to {MOST_BYTES} bytes")
    return value


class Given(Model):
    """What a secret is to be."""

    value: Annotated[str, AfterValidator(_checked)]


class Named(Model):
    """Which secret is meant."""

    name: Name


class SecretRoutes:
    """What can be done with secrets: everything but to read them."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper

    async def list(self, request: Request) -> Response:
        """Return which secrets there are."""
        schema = request.app.state.negotiate(request, KIND, offered=VERSIONS)
        shown = [_shown(metadata) for metadata in await self._keeper.list()]
        response: Response = schema.reply(orjson.dumps(shown))
        return response

    async def put(self, request: Request) -> Response:
        """Set a secret, in place of an earlier value if it has one.

        The body is an object with the `value`, a text of at most 64 KiB.
        """
        schema, name = request.app.state.negotiate(request, KIND, offered=VERSIONS), _name(request)
        body = await request.app.state.bodies.read_object(request)
        given = Given.parse(body, where="request body")
        metadata = await self._keeper.put(name, given.value)
        response: Response = schema.reply(orjson.dumps(_shown(metadata)))
        return response

    async def delete(self, request: Request) -> Response:
        """Remove a secret."""
        schema = request.app.state.negotiate(request, KIND, offered=VERSIONS)
        metadata = await self._keeper.delete(request.path_params["name"])
        response: Response = schema.reply(orjson.dumps(_shown(metadata)))
        return response


def _name(request: Request) -> str:
    """Return the name in the path.

    :raises InvalidResource: no secret can be called so
    """
    name: str = request.path_params["name"]
    try:
        return Named.parse({"name": name}, where="path").name
    except InvalidResource:
        right = "must consist of letters, digits, '_' and '-', at most 253 of them"
        raise InvalidResource.at("path", ("name",), right) from None


def _shown(metadata: Metadata) -> dict[str, str]:
    return metadata.model_dump(mode="json", include=SHOWN)
