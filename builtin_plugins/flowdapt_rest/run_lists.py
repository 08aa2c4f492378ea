"""Routes that list runs: of one workflow as published clients know them, and of all."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from flowdapt.resources import Workflow
from flowdapt.runs import RunState
from flowdapt.storage import RunQuery
from flowdapt_rest import query, render, run_shapes
from flowdapt_rest.operations import Operation, Query, negotiated
from flowdapt_rest.runs import KIND, OF_WORKFLOW
from flowdapt_rest.versions import V1, V1ALPHA1

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from flowdapt.engine import Engine

LISTED = 10  #: runs in a list of which the client does not say how long it may be
MOST = 1000  #: and at most


WORKFLOW = Query("workflow", query.text, "Only runs of the workflow with this name.")
STATE = Query("state", query.words, "Only runs in one of these states.", known=RunState)
SINCE = Query("since", query.moment, "Only runs that were accepted then or later.")
UNTIL = Query("until", query.moment, "Only runs that were accepted before.")
ORDER = Query("order", query.word, "Which runs come first.", default=query.Order.NEWEST)
CURSOR = Query("cursor", query.uid, "The `next` of an earlier reply.")
LIMIT = Query(
    "limit",
    query.integer,
    f"At most so many. Below 1 it means {MOST}, which is the most; in {V1ALPHA1}, all.",
    default=LISTED,
)
CHOICE: list[Query[Any]] = [STATE, SINCE, UNTIL, ORDER, LIMIT, CURSOR]


class RunListRoutes:
    """Lists of runs."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def routes(self) -> list[Operation]:
        """Return the routes, to stand before those over workflows."""
        return [
            Operation(
                f"GET {OF_WORKFLOW}",
                self.of_workflow,
                name="list_workflow_runs",
                kind=KIND,
                reply=run_shapes.run_page,
                query=CHOICE,
            ),
            Operation(
                "GET /runs/",
                self.all,
                name="list_runs",
                kind=KIND,
                versions=[V1],
                reply=run_shapes.run_page,
                query=[WORKFLOW, *CHOICE],
                refusals=[404],  # of a cursor
            ),
        ]

    async def of_workflow(self, request: Request) -> Response:
        """Return runs of a workflow, the newest first where nothing else is asked for.

        In `v1alpha1` it is a list of runs; in `v1`, a part of one that says how to go on.
        """
        schema = negotiated(request)
        limit = LIMIT.of(request)
        workflow = await self.engine.get(Workflow, request.path_params["identifier"])
        wanted = _query(request, workflow.name)
        if schema.version == V1ALPHA1:
            wanted = replace(wanted, limit=limit if limit > 0 else None)
            return schema.reply(render.runs(await self.engine.list_runs(wanted), schema.version))
        return schema.reply(await self._page(wanted, limit))

    async def all(self, request: Request) -> Response:
        """Return runs of all workflows, the newest first where nothing else is asked for."""
        schema = negotiated(request)
        return schema.reply(
            await self._page(_query(request, WORKFLOW.of(request)), LIMIT.of(request))
        )

    async def _page(self, wanted: RunQuery, limit: int) -> bytes:
        limit = min(limit, MOST) if limit > 0 else MOST
        # One more tells whether there are more.
        runs = await self.engine.list_runs(replace(wanted, limit=limit + 1))
        following = runs[limit - 1].run.uid if len(runs) > limit else None
        return render.run_page(runs[:limit], following)


def _query(request: Request, workflow: str | None) -> RunQuery:
    return RunQuery(
        workflow=workflow,
        states=STATE.of(request),
        since=SINCE.of(request),
        until=UNTIL.of(request),
        newest_first=ORDER.of(request) is query.Order.NEWEST,
        cursor=CURSOR.of(request),
    )
