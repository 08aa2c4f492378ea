"""The audit trail: who did what with which token, and what was refused."""

from __future__ import annotations

import getpass
import logging
import os
from collections import Counter
from time import monotonic
from typing import TYPE_CHECKING

import orjson
from typing_extensions import TypedDict

from flowdapt.events import ACTOR, AUDIT, Event
from flowdapt.resources import now, timestamp
from flowdapt.storage import EventQuery
from flowdapt_rest import query, shapes
from flowdapt_rest.operations import Operation, Query, negotiated
from flowdapt_rest.roles import ANONYMOUS, READING, Caller, Role
from flowdapt_rest.tokens import hidden
from flowdapt_rest.versions import V1

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from flowdapt.storage import Storage
    from flowdapt_rest.tokens import Token

logger = logging.getLogger(__name__)

KIND = "audit"
TYPE = "com.event.audit.request"
REFUSED = (401, 403)
LISTED, MOST = 100, 1000  #: entries in one reply, where the client says nothing, and at most
LOOKED_AT = 10_000  #: entries at most in search of those of one actor, before the client asks on
LONGEST_PATH = 500  #: characters that are kept
REFUSALS = 100  #: kept each minute, of a token and of all without: a flood must not fill the disk


class Entry(TypedDict):
    """A request that changed something, or was refused."""

    time: str
    actor: str
    token: str
    method: str
    path: str
    operation: str
    status: int
    address: str


class PositionedEntry(Entry):
    """A request that changed something, or was refused."""

    position: int


class Entries(TypedDict):
    """A part of the audit trail, and the position to go on from."""

    entries: list[PositionedEntry]
    next: int


async def record(storage: Storage, entry: Entry) -> None:
    """Store an entry; a storage that fails is logged, and the request stays what it is."""
    actor = {ACTOR: entry["actor"]}
    event = Event(type=TYPE, channel=AUDIT, source="rest", headers=actor, data={**entry})
    try:
        await storage.append_event(event)
    except Exception:
        logger.exception("what follows is missing in the audit trail: %s", entry)


async def record_here(storage: Storage, operation: str, token: Token) -> None:
    """Record what somebody does with a token on this machine, without a request."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # as in containers, whose users need no names
        user = str(os.getuid())
    entry: Entry = {
        "time": timestamp(now()),
        "actor": user,
        "token": token.id,
        "method": "",
        "path": f"/tokens/{token.name}",
        "operation": operation,
        "status": 200,
        "address": "",
    }
    await record(storage, entry)


class Audit:
    """Records requests once they are answered; outside of whatever may refuse one.

    An endpoint that has done what it was asked for and goes on to wait calls
    ``request.state.settled(200)`` in between, so that it is on record whatever happens.
    """

    def __init__(self, app: ASGIApp, *, storage: Storage) -> None:
        self.app, self.storage = app, storage
        self._minute, self._refused = 0, Counter[str]()  # by token, of this minute

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun, status, done = now(), 500, False  # which it is if nothing is answered

        async def noting(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        async def settled(status: int) -> None:
            nonlocal done
            caller = _caller(scope)
            known = caller.token != "" and caller.role is not Role.ANYONE
            changing = known and scope["method"] not in READING and status not in REFUSED
            if not done and (changing or (status in REFUSED and self._has_room(caller, known))):
                done = True
                await record(self.storage, _entry(scope, caller, timestamp(begun), status))

        scope.setdefault("state", {})["settled"] = settled
        try:
            await self.app(scope, receive, noting)
        finally:
            await settled(status)

    def _has_room(self, caller: Caller, known: bool) -> bool:
        """Tell whether there is room for a refusal."""
        minute = int(monotonic() / 60)
        if minute != self._minute:
            if (more := sum(max(0, n - REFUSALS) for n in self._refused.values())) > 0:
                logger.warning("%d refusals are missing in the audit trail: a flood", more)
            self._minute = minute
            self._refused.clear()
        who = caller.token if known else ""
        self._refused[who] += 1
        return self._refused[who] <= REFUSALS


def _caller(scope: Scope) -> Caller:
    """Return who made a request, also one that was refused before anybody asked."""
    found: Caller | None = scope.get("state", {}).get("caller")
    address = (scope.get("client") or ("",))[0]
    return found or Caller(ANONYMOUS, Role.ANYONE, address)


def _entry(scope: Scope, caller: Caller, time: str, status: int) -> Entry:
    return {
        "time": time,
        "actor": caller.name,
        "token": caller.token,
        "method": scope["method"],
        "path": hidden(scope["path"])[:LONGEST_PATH],
        "operation": getattr(scope.get("route"), "name", "") or "",
        "status": status,
        "address": caller.address,
    }


# Reading it ----------------------------------------------------------------------------------

AFTER = Query("after", query.position, "The `next` of an earlier reply.")
ORDER = Query("order", query.word, "Which entries come first.", default=query.Order.OLDEST)
LIMIT = Query(
    "limit", query.limit, f"At most so many; never more than {MOST}.", default=LISTED, most=MOST
)
WHOSE = Query("actor", query.text, "Only what was done with the token of this name.")


class AuditRoutes:
    """The audit trail, in either order."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage

    def routes(self) -> list[Operation]:
        """Return the routes."""
        return [
            Operation(
                "GET /audit",
                self.list,
                name="list_audit",
                kind=KIND,
                versions=[V1],
                reply=shapes.always(Entries),
                query=[AFTER, ORDER, LIMIT, WHOSE],
                role=Role.ADMIN,
            )
        ]

    async def list(self, request: Request) -> Response:
        """Return entries behind ``after``; ``next`` may lead on also where there are few or none.

        The oldest comes first if not asked otherwise, and ``after`` is meant in that order.

        Recorded are requests that change something and are made with a token, and those that were
        refused for want of one.
        """
        schema = negotiated(request)
        after, limit, actor = AFTER.of(request) or 0, LIMIT.of(request), WHOSE.of(request)
        newest_first = ORDER.of(request) is query.Order.NEWEST
        found: list[PositionedEntry] = []
        for _ in range(LOOKED_AT // MOST):
            most = MOST if actor else limit - len(found)
            page = await self.storage.read_events(
                EventQuery(after=after, limit=most, channels=(AUDIT,), newest_first=newest_first)
            )
            for position, text in page.entries.items():
                event = orjson.loads(text)
                entry: Entry = event["data"]
                if event["type"] == TYPE and actor in (None, entry["actor"]):
                    found.append({"position": position, **entry})
                if len(found) == limit:
                    return schema.reply(orjson.dumps(Entries(entries=found, next=position)))
            if page.next == after:
                break
            after = page.next
        return schema.reply(orjson.dumps(Entries(entries=found, next=after)))
