"""Routes over events: by pages, and as they happen."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID

from flowdapt.catalog import identifier
from flowdapt.events import AUDIT, RUN_FINISHED
from flowdapt_rest import query, shapes, sse
from flowdapt_rest.access import Forbidden
from flowdapt_rest.entries import Entry, Filter
from flowdapt_rest.operations import Operation, Query, negotiated
from flowdapt_rest.roles import Caller, Role
from flowdapt_rest.runs import ONE
from flowdapt_rest.versions import V1

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.requests import Request
    from starlette.responses import Response

    from flowdapt.engine import Engine
    from flowdapt.runs import Run
    from flowdapt_rest.hub import Hub

KIND = "event"
LISTED = 100  #: events in one reply, where the client says nothing
MOST = 1000  #: and at most
PAGE = 100  #: events that are read at once
LOOKED_AT = 100  #: such pages at most in search of what was asked for
LARGE_PAGE = 4 * 1024 * 1024  #: bytes after which a reply is not added to

AFTER = Query(
    "after",
    query.position,
    "A position, such as the `next` of an earlier reply: only what comes behind it in this order. "
    "Absent, a list has all from its first on, and a stream what happens from now on.",
)
ORDER = Query(
    "order",
    query.word,
    "Which events of a list come first; a stream has them as they happened.",
    default=query.Order.OLDEST,
)
LIMIT = Query(
    "limit", query.limit, f"At most so many; never more than {MOST}.", default=LISTED, most=MOST
)
WORKFLOW = Query("workflow", query.text, "Only about runs of the workflow with this name.")
RUN = Query("run", query.text, "Only about this run, by its name or uid.")
TYPE = Query("type", query.texts, "Only of one of these types.")
_END = f"\nevent: {RUN_FINISHED}\n".encode()  # data is one line, so this is nowhere in it
CHANNEL = Query("channel", query.text, "Only of this channel; `audit` is for the role `admin`.")


class EventRoutes:
    """The log of events, and its live end."""

    def __init__(self, engine: Engine, hub: Hub) -> None:
        self.engine, self.hub = engine, hub

    def routes(self) -> list[Operation]:
        """Return the routes, to stand before those over workflows."""
        telling = partial(
            Operation,
            kind=KIND,
            versions=[V1],
            reply=shapes.always(shapes.EventPage),
            stream=shapes.EventV1,
        )
        return [
            telling(
                "GET /events",
                self.all,
                name="list_events",
                query=[AFTER, ORDER, LIMIT, WORKFLOW, RUN, TYPE, CHANNEL],
                refusals=[403, 404],
            ),
            telling(
                f"GET {ONE}/events",
                self.of_run,
                name="list_run_events",
                query=[AFTER, ORDER, LIMIT, TYPE],
            ),
        ]

    async def all(self, request: Request) -> Response:
        """Return what happened to runs and resources, the oldest first if not asked otherwise.

        As a stream, it goes on. Messages about what is kept have an `id`, and a client that sends
        the last one as `Last-Event-ID` misses nothing; how stages move on is told without. Where
        some of what came since is not kept any more, a message `gap` says between which positions.
        """
        channel, run = CHANNEL.of(request), RUN.of(request)
        caller: Caller = request.state.caller
        if channel == AUDIT and not caller.role.covers(Role.ADMIN):
            raise Forbidden(caller, Role.ADMIN)
        wanted = Filter(
            run=await self._uid(run) if run else None,
            workflow=WORKFLOW.of(request),
            types=frozenset(TYPE.of(request)),
            channels=(channel,) if channel else (),
        )
        if not sse.asked_for(request):
            return await self._list(request, wanted)
        return self._stream(request, self.hub.follow(wanted, _resumed(request)))

    async def of_run(self, request: Request) -> Response:
        """Return what happened to a run; a stream ends with it."""
        run = await self.engine.find_run(request.path_params["identifier"])
        wanted = Filter(run=run.uid, types=frozenset(TYPE.of(request)))
        if not sse.asked_for(request):
            return await self._list(request, wanted)
        return self._stream(request, self._follow(run, wanted, _resumed(request) or 0))

    async def _uid(self, run: str) -> UUID:
        """Return the uid of a run; events of one that was deleted are there by its uid."""
        found = identifier(run)
        return found if isinstance(found, UUID) else (await self.engine.find_run(found)).uid

    def _stream(self, request: Request, messages: AsyncGenerator[bytes, None]) -> Response:
        negotiated(request)
        return sse.EventStream(messages)

    async def _follow(self, run: Run, wanted: Filter, after: int) -> AsyncGenerator[bytes, None]:
        if not run.state.final:
            wanted = replace(wanted, types=wanted.types and {*wanted.types, RUN_FINISHED})
            async with aclosing(self.hub.follow(wanted, after)) as messages:
                async for part in messages:
                    yield part
                    if _END in part:
                        return
        yield sse.position(after) + await self.hub.gap(wanted, after)
        while True:
            page = await self.engine.storage.read_events(wanted.query(after, PAGE))
            entries = [Entry.of(document, position) for position, document in page.entries.items()]
            if told := b"".join(entry.message for entry in entries if wanted.wants(entry)):
                yield told
            if page.next <= after:
                return
            after = page.next

    async def _list(self, request: Request, wanted: Filter) -> Response:
        schema = negotiated(request)
        after, limit = _resumed(request) or 0, LIMIT.of(request)
        newest_first = ORDER.of(request) is query.Order.NEWEST
        found: list[bytes] = []
        total = 0
        for _ in range(LOOKED_AT):
            size = min(PAGE, limit - len(found))
            page = await self.engine.storage.read_events(
                wanted.query(after, size, newest_first=newest_first)
            )
            await asyncio.sleep(0)  # others have their turn
            for position, document in page.entries.items():
                entry = Entry.of(document, position)
                if wanted.wants(entry):
                    found.append(entry.text)
                    total += len(entry.text)
            over, after = page.next == after, page.next
            if over or len(found) == limit or total > LARGE_PAGE:
                break
        return schema.reply(b'{"events":[' + b",".join(found) + b'],"next":%d}' % after)


def _resumed(request: Request) -> int | None:
    """Return the position from which a client wants to be told, if it says so."""
    resumed = sse.resumed(request)
    return AFTER.of(request) if resumed is None else resumed
