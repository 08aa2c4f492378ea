"""Routes over runs."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from flowdapt.resources import Workflow
from flowdapt.runs import StageRecord
from flowdapt.storage import RunQuery, StoredRun
from flowdapt_rest import bodies, render, shapes
from flowdapt_rest.operations import Operation, Query, negotiated
from flowdapt_rest.roles import Role
from flowdapt_rest.versions import V1, Schema

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from flowdapt.engine import Engine
    from flowdapt_rest.waits import Waits

KIND = "workflow_run"
LISTED = 10  #: runs in a list of which the client does not say how long it may be
BLOCKS = 100  #: blocks of a log in one reply, likewise
MOST_BLOCKS = 1000  #: and at most

WAIT = Query("wait", bodies.boolean, "Answer once the run has ended.", default=True)
NAMESPACE = Query("namespace", bodies.text, "Of the run; absent, as the settings say.")
LIMIT = Query("limit", bodies.integer, "At most so many; below 1 means all.", default=LISTED)
AFTER = Query("after", bodies.integer, "The `next` of an earlier reply.", default=0)
MOST = Query(
    "limit",
    bodies.integer,
    f"At most so many blocks; never more than {MOST_BLOCKS}.",
    default=BLOCKS,
)


class RunRoutes:
    """Starting, finding, following and ending runs."""

    def __init__(self, engine: Engine, waits: Waits) -> None:
        self.engine, self.waits = engine, waits

    def routes(self) -> list[Operation]:
        """Return the routes, to stand before those over workflows."""
        # A workflow may be called `run`. Its runs are at `/workflows/run/run`, which would also be
        # a run called `run`; no run is, because names of runs are made up by the server.
        of_workflow, one = "/workflows/{identifier}/run", "/workflows/run/{identifier}"
        # What published clients know comes in their version, too; what is ours has only ours.
        known = partial(Operation, kind=KIND)
        operating = partial(known, role=Role.OPERATE)
        ours = partial(Operation, kind=KIND, versions=[V1])
        return [
            operating(
                f"POST {of_workflow}",
                self.start,
                name="run_workflow",
                reply=shapes.run,
                query=[WAIT, NAMESPACE],
                body=dict[str, Any],
                optional=True,
            ),
            known(
                f"GET {of_workflow}",
                self.list,
                name="list_workflow_runs",
                reply=shapes.runs,
                query=[LIMIT],
            ),
            known(f"GET {one}", self.get, name="get_workflow_run", reply=shapes.run),
            operating(f"DELETE {one}", self.delete, name="delete_workflow_run", reply=shapes.run),
            operating(f"POST {one}/cancel", self.cancel, name="cancel_run", reply=shapes.run),
            ours(
                f"GET {one}/stages",
                self.stages,
                name="list_run_stages",
                reply=shapes.always(list[StageRecord]),
            ),
            ours(
                f"GET {one}/logs",
                self.log,
                name="get_run_log",
                reply=shapes.always(shapes.Log),
                query=[AFTER, MOST],
            ),
        ]

    async def start(self, request: Request) -> Response:
        """Start a run and return it: once it has ended, or as it begins where ``wait`` is false."""
        schema = negotiated(request)
        wait = WAIT.of(request)
        name, namespace = request.path_params["identifier"], NAMESPACE.of(request)
        given = await bodies.read_input(request)
        run = await self.engine.submit(name, given, namespace=namespace)
        if not wait:
            return _reply(schema, StoredRun(run))
        ended = self.waits.until(self.engine.wait(run.uid), called=f"run {run.name!r}")
        return _reply(schema, await ended)

    async def list(self, request: Request) -> Response:
        """Return the last runs of a workflow, newest first."""
        schema = negotiated(request)
        limit = LIMIT.of(request)
        workflow = await self.engine.get(Workflow, request.path_params["identifier"])
        query = RunQuery(workflow=workflow.name, limit=limit if limit > 0 else None)
        return schema.reply(render.runs(await self.engine.list_runs(query), schema.version))

    async def get(self, request: Request) -> Response:
        """Return one run with its result."""
        schema = negotiated(request)
        return _reply(schema, await self.engine.get_run(request.path_params["identifier"]))

    async def delete(self, request: Request) -> Response:
        """Remove a run and return it; one in progress is cancelled first."""
        schema = negotiated(request)
        return _reply(schema, await self.engine.delete_run(request.path_params["identifier"]))

    async def stages(self, request: Request) -> Response:
        """Return how the stages of a run stand."""
        schema = negotiated(request)
        return schema.reply(render.stages(await self.engine.stages(_name(request))))

    async def log(self, request: Request) -> Response:
        """Return what the stages of a run wrote, from ``after`` on."""
        schema = negotiated(request)
        after = max(0, AFTER.of(request))
        limit = MOST.of(request)
        limit = min(limit, MOST_BLOCKS) if limit > 0 else MOST_BLOCKS
        blocks = await self.engine.read_log(_name(request), after=after, limit=limit)
        return schema.reply(render.log(blocks, after=after))

    async def cancel(self, request: Request) -> Response:
        """Stop a run, and return it once it has ended; one that has ended stays as it is."""
        schema = negotiated(request)
        name = request.path_params["identifier"]
        ended = self.waits.until(self.engine.cancel(name), called=f"run {name!r}")
        return _reply(schema, await ended)


def _name(request: Request) -> str:
    return str(request.path_params["identifier"])


def _reply(schema: Schema, run: StoredRun) -> Response:
    return schema.reply(render.run(run, schema.version))
