"""Routes over runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.routing import Route

from flowdapt.resources import Workflow
from flowdapt.storage import RunQuery, StoredRun
from flowdapt_rest import bodies, render
from flowdapt_rest.versions import V1, Schema, negotiate

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from flowdapt.engine import Engine
    from flowdapt_rest.waits import Waits

KIND = "workflow_run"
LISTED = 10  #: runs in a list of which the client does not say how long it may be
BLOCKS = 100  #: blocks of a log in one reply, likewise
MOST_BLOCKS = 1000  #: and at most


class RunRoutes:
    """Starting, finding, following and ending runs."""

    def __init__(self, engine: Engine, waits: Waits) -> None:
        self.engine, self.waits = engine, waits

    def routes(self) -> list[Route]:
        """Return the routes, to stand before those over workflows."""
        # A workflow may be called `run`. Its runs are at `/workflows/run/run`, which would also be
        # a run called `run`; no run is, because names of runs are made up by the server.
        of_workflow, one = "/workflows/{identifier}/run", "/workflows/run/{identifier}"
        return [
            Route(of_workflow, self.start, methods=["POST"], name="run_workflow"),
            Route(of_workflow, self.list, methods=["GET"], name="list_workflow_runs"),
            Route(one, self.get, methods=["GET"], name="get_workflow_run"),
            Route(one, self.delete, methods=["DELETE"], name="delete_workflow_run"),
            Route(f"{one}/stages", self.stages, methods=["GET"], name="list_run_stages"),
            Route(f"{one}/logs", self.log, methods=["GET"], name="get_run_log"),
            Route(f"{one}/cancel", self.cancel, methods=["POST"], name="cancel_run"),
        ]

    async def start(self, request: Request) -> Response:
        """Start a run and return it: once it has ended, or as it begins where ``wait`` is false."""
        schema = negotiate(request, KIND)
        wait = bodies.boolean(request, "wait", default=True)
        name, namespace = request.path_params["identifier"], bodies.text(request, "namespace")
        given = await bodies.read_input(request)
        run = await self.engine.submit(name, given, namespace=namespace)
        if not wait:
            return _reply(schema, StoredRun(run))
        ended = self.waits.until(self.engine.wait(run.uid), called=f"run {run.name!r}")
        return _reply(schema, await ended)

    async def list(self, request: Request) -> Response:
        """Return the last runs of a workflow, newest first."""
        schema = negotiate(request, KIND)
        limit = bodies.integer(request, "limit", default=LISTED)
        workflow = await self.engine.get(Workflow, request.path_params["identifier"])
        query = RunQuery(workflow=workflow.name, limit=limit if limit > 0 else None)
        return schema.reply(render.runs(await self.engine.list_runs(query), schema.version))

    async def get(self, request: Request) -> Response:
        """Return one run with its result."""
        schema = negotiate(request, KIND)
        return _reply(schema, await self.engine.get_run(request.path_params["identifier"]))

    async def delete(self, request: Request) -> Response:
        """Remove a run and return it; one in progress is cancelled first."""
        schema = negotiate(request, KIND)
        return _reply(schema, await self.engine.delete_run(request.path_params["identifier"]))

    async def stages(self, request: Request) -> Response:
        """Return how the stages of a run stand."""
        schema = negotiate(request, KIND, offered=[V1])
        return schema.reply(render.stages(await self.engine.stages(_name(request))))

    async def log(self, request: Request) -> Response:
        """Return what the stages of a run wrote, from ``after`` on."""
        schema = negotiate(request, KIND, offered=[V1])
        after = max(0, bodies.integer(request, "after", default=0))
        limit = bodies.integer(request, "limit", default=BLOCKS)
        limit = min(limit, MOST_BLOCKS) if limit > 0 else MOST_BLOCKS
        blocks = await self.engine.read_log(_name(request), after=after, limit=limit)
        return schema.reply(render.log(blocks, after=after))

    async def cancel(self, request: Request) -> Response:
        """Stop a run, and return it once it has ended; one that has ended stays as it is."""
        schema = negotiate(request, KIND)
        name = request.path_params["identifier"]
        ended = self.waits.until(self.engine.cancel(name), called=f"run {name!r}")
        return _reply(schema, await ended)


def _name(request: Request) -> str:
    return str(request.path_params["identifier"])


def _reply(schema: Schema, run: StoredRun) -> Response:
    return schema.reply(render.run(run, schema.version))
