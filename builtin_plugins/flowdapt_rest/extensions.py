"""What other plugins add to the application: routes, and layers around it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.middleware import Middleware

from flowdapt_rest import access

if TYPE_CHECKING:
    from starlette.routing import BaseRoute
    from starlette.types import ASGIApp

    from flowdapt.server import Server

logger = logging.getLogger(__name__)


def routes(server: Server) -> list[BaseRoute]:
    """Return the routes that plugins offer."""
    found: list[BaseRoute] = []
    for name, make in _offered(server, "routes"):
        try:
            made = access.guarded(make(server))
        except (Exception, SystemExit):
            logger.exception("routes %r of plugin %s are left out", name, _owner(server, name))
        else:
            found += made
    return found


def layers(server: Server) -> list[Middleware]:
    """Return the layers that plugins offer, the outermost first."""
    offered = _offered(server, "layers")
    return [Middleware(partial(_made, server=server, name=n, make=m)) for n, m in offered]


def _made(app: ASGIApp, *, server: Server, name: str, make: Callable[..., ASGIApp]) -> ASGIApp:
    # Starlette makes layers when the first request comes, which must not fail for it.
    try:
        return make(app, server)
    except (Exception, SystemExit):
        logger.exception("layer %r of plugin %s is left out", name, _owner(server, name, "layers"))
        return app


def _offered(server: Server, part: str) -> Iterator[tuple[str, Callable[..., Any]]]:
    for name in server.plugins.providers(part):
        try:
            yield name, server.plugins.resolve(part, name)
        except Exception:  # whose message names the plugin
            logger.exception("%s %r are left out", part, name)


def _owner(server: Server, name: str, part: str = "routes") -> str:
    owners = (p.name for p in server.plugins.list() if f"{part}:{name}" in p.provides)
    return next(owners, "unknown")
