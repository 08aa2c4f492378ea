"""Routes over what a run consists of: its stages, and their elements."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import orjson
from flowdapt_workers.stored import alone
from starlette.responses import Response

from flowdapt.errors import FlowdaptError
from flowdapt.recovery import definition
from flowdapt.resources import Workflow
from flowdapt.runs import StageRecord
from flowdapt_rest import elements, histories, query, render, run_shapes, shapes
from flowdapt_rest.operations import Operation, Query, negotiated
from flowdapt_rest.roles import Role
from flowdapt_rest.runs import KIND, ONE
from flowdapt_rest.versions import V1

if TYPE_CHECKING:
    from starlette.requests import Request

    from flowdapt.engine import Engine

BYTES = "application/octet-stream"
LISTED = 100  #: elements in one reply, where the client says nothing
MOST = 1000  #: and at most


class NoStoredResult(FlowdaptError):
    """What a stage returned is not kept where a client could have it."""

    def __init__(self, stage: str, run: str) -> None:
        super().__init__(
            f"there is no stored result of stage {stage!r} of run {run!r}: only small ones of "
            "stages that have finished are stored"
        )
        self.stage, self.run = stage, run


STAGE = Query("stage", query.text, "Only elements of this stage.")
STATE = Query("state", query.words, "Only elements of which this became.", known=elements.ItemState)
ORDER = Query(
    "order",
    query.word,
    "By stage and index, or those that took longest first.",
    default=elements.ItemOrder.INDEX,
)
AFTER = Query("after", query.integer, "The `next` of an earlier reply.", default=0)
LIMIT = Query(
    "limit", query.limit, f"At most so many; never more than {MOST}.", default=LISTED, most=MOST
)


class RunDetailRoutes:
    """Stages and elements."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def routes(self) -> list[Operation]:
        """Return the routes, to stand before those over workflows."""
        ours = partial(Operation, kind=KIND, versions=[V1])
        return [
            ours(
                f"GET {ONE}/stages",
                self.stages,
                name="list_run_stages",
                reply=shapes.always(list[StageRecord]),
            ),
            Operation(
                f"GET {ONE}/definition",
                self.definition,
                name="get_run_definition",
                kind="workflow",
                versions=[V1],
                reply=partial(shapes.resource, Workflow),
            ),
            ours(
                f"GET {ONE}/history",
                self.history,
                name="get_run_history",
                reply=shapes.always(run_shapes.RunHistory),
            ),
            Operation(
                f"GET {ONE}/stages/{{stage:path}}/result",  # a stage's name may have slashes
                self.result,
                name="get_stage_result",
                reply=shapes.always(bytes),
                media_type=BYTES,
                role=Role.OPERATE,
            ),
            ours(
                f"GET {ONE}/items",
                self.items,
                name="list_run_items",
                reply=shapes.always(run_shapes.ItemPage),
                query=[STAGE, STATE, ORDER, AFTER, LIMIT],
            ),
            ours(
                f"GET {ONE}/items/summary",
                self.summaries,
                name="summarize_run_items",
                reply=shapes.always(list[run_shapes.ItemSummary]),
            ),
        ]

    async def stages(self, request: Request) -> Response:
        """Return how the stages of a run stand."""
        schema = negotiated(request)
        return schema.reply(
            render.stages(await self.engine.stages(request.path_params["identifier"]))
        )

    async def definition(self, request: Request) -> Response:
        """Return the workflow as a run began with it."""
        schema = negotiated(request)
        run = await self.engine.find_run(request.path_params["identifier"])
        workflow = await definition(self.engine.storage, run)
        return schema.reply(render.resource(workflow, schema.version))

    async def history(self, request: Request) -> Response:
        """Return what happened to a run and its stages in order of time, and what they used."""
        schema = negotiated(request)
        run = await self.engine.find_run(request.path_params["identifier"])
        records = await self.engine.stages(run.uid)
        events = await histories.told(self.engine.storage, run)
        return schema.reply(orjson.dumps(histories.history(run, records, events)))

    async def result(self, request: Request) -> Response:
        """Return what a stage handed on, pickled, where it is small enough to be stored.

        To load it is to run what its pickle says, so load only what your own server answers.
        """
        run, stage = request.path_params["identifier"], request.path_params["stage"]
        for record in await self.engine.stages(run):
            if record.stage == stage and record.result is not None and alone(record.result):
                return Response(record.result, media_type=BYTES)
        raise NoStoredResult(stage, run)

    async def items(self, request: Request) -> Response:
        """Return the elements of parameterized stages, once their stages have ended.

        Of a stage that failed as a whole, they are those that were computed before.
        """
        schema = negotiated(request)
        wanted = elements.Wanted(
            STAGE.of(request),
            STATE.of(request),
            ORDER.of(request),
            max(0, AFTER.of(request)),
            LIMIT.of(request),
        )
        records = await self.engine.stages(request.path_params["identifier"])
        # In a thread: a run may have more of them than the other requests should wait for.
        return schema.reply(orjson.dumps(await asyncio.to_thread(elements.page, records, wanted)))

    async def summaries(self, request: Request) -> Response:
        """Return how many elements each parameterized stage has, and how long they took."""
        schema = negotiated(request)
        records = await self.engine.stages(request.path_params["identifier"])
        return schema.reply(orjson.dumps(await asyncio.to_thread(elements.summaries, records)))
