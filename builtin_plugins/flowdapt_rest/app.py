"""The application: all routes, and what surrounds them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect

from flowdapt.errors import FlowdaptError
from flowdapt_rest import access, bodies, extensions, origins, query
from flowdapt_rest.access import Access
from flowdapt_rest.audit import Audit, AuditRoutes
from flowdapt_rest.documentation import DocumentationRoutes
from flowdapt_rest.errors import Unforeseen, on_error
from flowdapt_rest.events import EventRoutes
from flowdapt_rest.hosts import Hosts, names
from flowdapt_rest.hub import Hub
from flowdapt_rest.limits import Limits
from flowdapt_rest.logs import LogRoutes
from flowdapt_rest.nodes import NodeRoutes
from flowdapt_rest.plugins import PluginRoutes
from flowdapt_rest.resources import ResourceRoutes
from flowdapt_rest.run_details import RunDetailRoutes
from flowdapt_rest.run_lists import RunListRoutes
from flowdapt_rest.runs import RunRoutes
from flowdapt_rest.status import StatusRoutes
from flowdapt_rest.streams import RUN_HEADER
from flowdapt_rest.tokens import Tokens
from flowdapt_rest.versions import negotiate
from flowdapt_rest.waits import Waits

if TYPE_CHECKING:
    from starlette.routing import BaseRoute

    from flowdapt.server import Server


def make_app(
    server: Server,
    waits: Waits | None = None,
    *,
    limits: Limits | None = None,
    token_needed: bool | None = None,
    only_here: bool = False,
) -> Starlette:
    """Return the application of a server.

    :param waits: to be ended when the server stops; without it, requests wait as long as it takes
    :param limits: absent, those of the settings
    :param token_needed: whether a request needs a token; absent, as the settings have it for
        callers on this machine
    :param only_here: whether it can be reached from this machine alone
    """
    api = server.settings.rpc.api
    needed = api.require_token if token_needed is None else token_needed
    routes = _routes(server, waits or Waits())
    app = Starlette(
        routes=routes,
        middleware=[
            *extensions.layers(server),
            Middleware(Audit, storage=server.engine.storage),
            Middleware(
                origins.Origins,
                allow_origins=origins.checked(api.allow_origins),
                allow_origin_regex=origins.ALLOWED,
                allow_credentials=True,
                allow_methods=["*"],
                allow_headers=["*"],
                expose_headers=["ETag", "Link", "Warning", "X-API-Version", RUN_HEADER],
            ),
            *([Middleware(Hosts, names=names(api))] if only_here and not needed else []),
            Middleware(Unforeseen),
            Middleware(Access, tokens=Tokens(server.engine.storage), needed=needed, routes=routes),
        ],
        exception_handlers=dict.fromkeys(
            (FlowdaptError, HTTPException, ClientDisconnect), on_error
        ),
    )
    app.state.limits = limits or Limits.of(api)
    app.state.token_needed = needed
    app.state.dev = server.settings.dev
    # For endpoints of other plugins, which cannot import them from here.
    app.state.negotiate, app.state.bodies, app.state.query = negotiate, bodies, query
    return app


def _routes(server: Server, waits: Waits) -> list[BaseRoute]:
    engine = server.engine
    hub = Hub(engine.storage, engine.events, waits)
    # The first that fits is taken, so those in most demand come first.
    routes: list[BaseRoute] = [
        *RunListRoutes(engine).routes(),  # before those of one run, for a workflow called `run`
        *RunRoutes(engine, waits).routes(),
        *RunDetailRoutes(engine).routes(),
        *LogRoutes(engine, waits).routes(),
        *EventRoutes(engine, hub).routes(),
        *StatusRoutes(server).routes(),
    ]
    for kind, model in engine.kinds.items():
        routes += ResourceRoutes(engine, kind, model, hub).routes()
    routes += PluginRoutes(server).routes()
    routes += NodeRoutes(engine).routes()
    routes += AuditRoutes(engine.storage).routes()
    routes += DocumentationRoutes().routes()
    return access.guarded(routes) + extensions.routes(server)
