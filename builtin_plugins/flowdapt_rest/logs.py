"""Routes over what the stages of a run wrote: by pages, and as it is written."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import UUID

import orjson

from flowdapt.errors import ResourceNotFound
from flowdapt.events import LOG_APPENDED, RUN_FINISHED
from flowdapt.storage import INLINE_BYTES
from flowdapt_rest import query, render, run_shapes, shapes, sse
from flowdapt_rest.operations import Operation, Query, negotiated
from flowdapt_rest.runs import KIND, ONE
from flowdapt_rest.versions import V1

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.requests import Request
    from starlette.responses import Response

    from flowdapt.engine import Engine
    from flowdapt.events import Event
    from flowdapt_rest.waits import Waits

BLOCKS = 100  #: blocks of a log in one reply, where the client says nothing
MOST = 1000  #: and at most

AFTER = Query("after", query.integer, "The `next` of an earlier reply.", default=0)
LIMIT = Query(
    "limit",
    query.limit,
    f"At most so many blocks; never more than {MOST}.",
    default=BLOCKS,
    most=MOST,
)


class LogRoutes:
    """Logs of runs."""

    def __init__(self, engine: Engine, waits: Waits) -> None:
        self.engine, self.waits = engine, waits

    def routes(self) -> list[Operation]:
        """Return the routes, to stand before those over workflows."""
        return [
            Operation(
                f"GET {ONE}/logs",
                self.log,
                name="get_run_log",
                kind=KIND,
                versions=[V1],
                reply=shapes.always(run_shapes.Log),
                stream=run_shapes.LogPart,
                query=[AFTER, LIMIT],
            )
        ]

    async def log(self, request: Request) -> Response:
        """Return what the stages of a run wrote, from ``after`` on.

        As a stream, it goes on until the run has ended, with a message `log` for lines that were
        written together, and a last one, `end`, that holds the run; the limit does not matter.
        `Last-Event-ID` goes before ``after``.
        """
        schema = negotiated(request)
        resumed, limit = sse.resumed(request), LIMIT.of(request)
        after = max(0, AFTER.of(request)) if resumed is None else resumed
        name = request.path_params["identifier"]
        if sse.asked_for(request):
            run = await self.engine.find_run(name)
            return sse.EventStream(self._follow(run.uid, after))
        blocks = await self.engine.read_log(name, after=after, limit=limit)
        return schema.reply(render.log(blocks, after=after))

    async def _follow(self, run: UUID, after: int) -> AsyncGenerator[bytes, None]:
        heard = asyncio.Event()

        def hear(event: Event) -> None:
            if event.run == run:
                heard.set()

        with (
            self.waits.told(heard.set),
            self.engine.events.listening(hear, LOG_APPENDED, RUN_FINISHED),
            suppress(ResourceNotFound),  # it was deleted meanwhile
        ):
            yield sse.position(after)
            ended = False
            while not ended:
                heard.clear()
                if self.waits.over:
                    return
                # Before the log is read: nothing is written once a run has ended.
                ended = (await self.engine.storage.find_run(run)).state.final
                while blocks := await self.engine.read_log(run, after=after, limit=BLOCKS):
                    after = max(blocks)
                    parts = [render.log_part(*block) for block in blocks.items()]
                    yield b"".join(
                        sse.message(orjson.dumps(part), event="log", id=part["position"])
                        for part in parts
                    )
                if not ended and not await _within(sse.ALIVE_SECONDS, heard):
                    yield sse.ALIVE
            yield await self._end(run)

    async def _end(self, run: UUID) -> bytes:
        stored = await self.engine.get_run(run)
        if stored.result_bytes > INLINE_BYTES:  # as in lists
            stored = replace(stored, result=None)
        return sse.message(render.run(stored, V1), event="end")


async def _within(seconds: float, what: asyncio.Event) -> bool:
    """Wait for something, and tell whether it happened in time."""
    with suppress(TimeoutError):
        return await asyncio.wait_for(what.wait(), seconds)
    return False
