"""The route that tells where stages are computed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from flowdapt_rest import shapes
from flowdapt_rest.operations import Operation, negotiated
from flowdapt_rest.versions import V1

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from flowdapt.engine import Engine
    from flowdapt.executors import Node


class NodeRoutes:
    """The nodes of the executor."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def routes(self) -> list[Operation]:
        """Return the route."""
        return [
            Operation(
                "GET /nodes",
                self.list,
                name="list_nodes",
                kind="node",
                versions=(V1,),
                reply=shapes.always(list[shapes.Node]),
            )
        ]

    async def list(self, request: Request) -> Response:
        """Return the nodes on which stages are computed, and what is free there."""
        schema = negotiated(request)
        found = await self.engine.executor.nodes()
        return schema.reply(orjson.dumps([_facts(node) for node in found]))


def _facts(node: Node) -> shapes.Node:
    return {
        "name": node.name,
        "state": "lost" if not node.alive else "unusable" if node.problem else "ready",
        "resources": dict(node.resources),
        "free": dict(node.free),
        "workers": node.workers,
        "plugin_set": node.plugin_set,
        "problem": node.problem,
    }
