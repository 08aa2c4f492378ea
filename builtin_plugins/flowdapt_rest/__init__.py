"""The HTTP interface: the routes of published clients, those of our own, and those of plugins."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

from flowdapt.hooks import NAMESPACE, Provider, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterable

_spec = pluggy.HookspecMarker(NAMESPACE)(firstresult=False)


@_spec
def flowdapt_routes() -> Iterable[Provider]:
    """Offer routes of the HTTP interface.

    Called once for each start of a server. Each ``target`` is a function that takes the
    :class:`flowdapt.server.Server` and returns a list of Starlette's routes; they are tried after
    the built-in ones. Errors of flowdapt become replies as everywhere else. On
    ``request.app.state``, an endpoint finds ``negotiate(request, kind)``, which returns the version
    of the kind's schema that the client reads and makes the reply, and ``bodies``, which reads the
    body and the query. One that fails is left out, and logged with the plugin's name.

    What comes in and goes out is described in the OpenAPI document where the route is an
    ``Operation``: ``server.plugins.resolve("exports", "http")`` has it, see
    :mod:`flowdapt_rest.public`.

    Reading needs a token with the role ``read`` where tokens are needed, and every other method one
    with ``admin``. A route with an attribute ``role`` asks for that one instead: ``read``,
    ``operate``, ``admin``, or ``anyone`` for what may be seen without a token. Who calls is
    ``request.state.caller``, with ``name``, ``role`` and ``address``.

    Implement it with ``hookimpl(optionalhook=True)``, to be of use where this plugin is disabled.

    :return: one provider for each group of routes; names are unique across plugins
    """


@_spec
def flowdapt_layers() -> Iterable[Provider]:
    """Offer layers around the HTTP interface, which see every request and every reply.

    Called once for each start of a server. Each ``target`` is a function that takes an ASGI
    application and the :class:`flowdapt.server.Server`, and returns an application around it, or
    the same one. What is offered first is outermost. One that fails when it is made is left out,
    and logged with the plugin's name.

    :return: one provider for each layer; names are unique across plugins
    """


@hookimpl
def flowdapt_commands() -> list[Provider]:
    text = "Make, list and revoke tokens, by which servers know who calls; needs no server."
    return [Provider("tokens", "flowdapt_rest.commands:tokens", text)]


@hookimpl
def flowdapt_exports() -> list[Provider]:
    text = "What routes of other plugins are made of."
    return [Provider("http", "flowdapt_rest.public:NAMES", text)]


@hookimpl
def flowdapt_services() -> list[Provider]:
    return [Provider("rest", "flowdapt_rest.service:RestService", "The HTTP interface.")]
