"""Routes over triggers: how they stand, that they pause or fire, and the hooks that others call."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4, uuid5

import orjson
from pydantic import Field
from typing_extensions import TypedDict  # pydantic reads no other before Python 3.12

from flowdapt.errors import FlowdaptError, InvalidResource, ResourceExists, ResourceNotFound
from flowdapt.resources import Model, Timestamp, Workflow, timestamp
from flowdapt.settings import Duration
from flowdapt.triggers import Occasion
from flowdapt_triggers.outcomes import NotFired, Outcome
from flowdapt_triggers.resource import TriggerRule
from flowdapt_triggers.secrecy import opened
from flowdapt_triggers.states import States, TriggerDetail, TriggerState
from flowdapt_triggers.trials import Trial, ago
from flowdapt_triggers.webhooks import HookRefused, Webhook

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from flowdapt.server import Server
    from flowdapt_triggers.lives import Live
    from flowdapt_triggers.service import TriggerService

logger = logging.getLogger(__name__)

KIND = "trigger_state"
FIRINGS, MOST_FIRINGS = 20, 1000  #: in one reply, where the client says nothing, and at most
UNAUTHORIZED = 401


def routes(server: Server) -> list[Any]:
    """Return the routes over the triggers of a server; none where their service does not run."""
    service: Any = server.services.get("triggers")
    if service is None:
        return []
    return TriggerRoutes(service, server.plugins.resolve("exports", "http")).routes()


# What goes over the wire ---------------------------------------------------------------------


class Fired(TypedDict):
    """What came of a firing.

    :ivar run: that began, now or when the same was asked for before; null where the trigger starts
        none
    :ivar name: of that run
    :ivar why: nothing was done, if so
    """

    run: UUID | None
    name: str | None
    why: str


class Trying(Model):
    """Which trigger is tried, and on what.

    :ivar trigger: one that is not applied
    :ivar since: seconds, or a text such as `1h`: events and times since then
    """

    name: str | None = None
    trigger: dict[str, Any] | None = None
    event: dict[str, Any] | None = None
    since: Duration | None = Field(None, ge=0)


class TriedFiring(TypedDict):
    """What a trigger would have done.

    :ivar error: why its rule could not be decided, which counts as not met
    """

    time: str
    event: str | None
    type: str | None
    subject: str | None
    action: dict[str, Any]
    error: str


class Tried(TypedDict):
    """What a trial came to.

    :ivar tried: events that were looked at
    :ivar more: there were more times; these are the last ones
    """

    tried: int
    firings: list[TriedFiring]
    more: bool


class Period(Model):
    """A time that a run is about, and further values of its input."""

    start: Timestamp
    end: Timestamp
    input: dict[str, Any] = Field(default_factory=dict)


class Backfilled(TypedDict):
    """The run of a period; ``new`` if it began just now."""

    run: UUID
    name: str
    state: str
    new: bool


# The routes ----------------------------------------------------------------------------------


class TriggerRoutes:
    """What can be done with triggers beside applying them.

    :param http: what routes are made of
    """

    def __init__(self, service: TriggerService, http: Any) -> None:
        self._service, self._http = service, http
        self._engine, self._states = service.engine, States(service)
        most = f"Firings, at most; never more than {MOST_FIRINGS}."
        self._limit = http.Query(
            "limit", http.query.limit, most, default=FIRINGS, most=MOST_FIRINGS
        )

    def routes(self) -> list[Any]:
        """Return the routes."""
        http = self._http
        ours = partial(http.Operation, kind=KIND, versions=[http.V1])
        operating = partial(ours, role=http.Role.OPERATE)
        trigger, fired = http.always(TriggerRule), http.always(Fired)
        one = "/triggers/{identifier}"
        return [
            ours(
                "GET /trigger_states",
                self.list,
                name="list_trigger_states",
                reply=http.always(list[TriggerState]),
            ),
            ours(
                "GET /trigger_states/{identifier}",
                self.get,
                name="get_trigger_state",
                reply=http.always(TriggerDetail),
                query=[self._limit],
            ),
            operating(f"POST {one}/pause", self.pause, name="pause_trigger", reply=trigger),
            operating(f"POST {one}/resume", self.resume, name="resume_trigger", reply=trigger),
            operating(f"POST {one}/fire", self.fire, name="fire_trigger", reply=fired),
            ours(
                "POST /trigger_trials",
                self.attempt,
                name="try_trigger",
                reply=http.always(Tried),
                body=Trying,
                role=http.Role.OPERATE,
            ),
            operating(
                "POST /workflows/{identifier}/periods",
                self.backfill,
                name="run_period",
                reply=http.always(Backfilled),
                body=Period,
            ),
            http.Operation(
                "POST /hooks/{identifier}",
                self.hook,
                name="call_hook",
                reply=fired,
                body=dict[str, Any],
                optional=True,
                role=http.Role.ANYONE,
                own_tokens=True,
                refusals=[UNAUTHORIZED, 404],
            ),
        ]

    async def list(self, request: Request) -> Response:
        """Return how all triggers stand."""
        return self._reply(request, await self._states.list())

    async def get(self, request: Request) -> Response:
        """Return how a trigger stands, and what it did."""
        limit = self._limit.of(request)
        return self._reply(request, await self._states.get(_name(request), limit))

    async def pause(self, request: Request) -> Response:
        """Have a trigger not fire; what it misses is not made up."""
        return await self._paused(request, paused=True)

    async def resume(self, request: Request) -> Response:
        """Have a trigger fire again, for what comes from now on."""
        return await self._paused(request, paused=False)

    async def _paused(self, request: Request, *, paused: bool) -> Response:
        found = await self._engine.get(TriggerRule, _name(request))
        if found.spec.paused is not paused:
            data = found.model_dump(mode="json")
            data["spec"]["paused"] = paused
            expected, uid = found.metadata.generation, found.metadata.uid
            found = await self._engine.replace(TriggerRule, uid, data, expected=expected)
        return self._reply(request, found.model_dump(mode="json"))

    async def fire(self, request: Request) -> Response:
        """Do what a trigger does, now, as if its rule were met."""
        found = await self._live(_name(request))
        event = {
            "id": str(uuid4()),
            "type": "com.event.trigger.asked",
            "source": "api",
            "data": None,
        }
        outcome = await self._fired(found, Occasion(event["id"] or "", event=event))
        if outcome.why:
            fact = outcome.why if outcome.failed else f"it did not fire: {outcome.why}"
            raise InvalidResource.at(f"trigger_rule {found.name!r}", ("spec", "action"), fact)
        return self._reply(request, _told(outcome))

    async def _live(self, name: str) -> TriggerRule:
        """Return a trigger that works.

        :raises ResourceNotFound: there is no such trigger
        :raises InvalidResource: it cannot work
        """
        found = await self._engine.get(TriggerRule, name)
        if found.metadata.uid not in self._service.lives:
            why = self._service.problems.get(found.metadata.uid, "it cannot work")
            raise InvalidResource.at(f"trigger_rule {found.name!r}", (), why)
        return found

    async def _fired(self, trigger: TriggerRule, occasion: Occasion) -> Outcome:
        return await self._service.fire(trigger.metadata.uid, occasion)

    async def hook(self, request: Request) -> Response:
        """Fire a trigger whose rule is a `webhook`; the body is the input of its run."""
        body = await request.app.state.bodies.read(request)  # first, for it may take its time
        found = await self._engine.get(TriggerRule, _name(request))
        live = self._service.lives.get(found.metadata.uid)
        if found.spec.type != "webhook":
            raise ResourceNotFound("webhook", found.name)
        # Nobody knows yet who calls, and what is wrong here is not for everybody.
        if live is None or not isinstance(live.rule, Webhook):
            raise NotFired("this trigger cannot work at present; try again later")
        rule, secret = live.rule, await self._opened(live)
        if self._service.lives.get(found.metadata.uid) is not live:
            raise NotFired("the trigger was changed meanwhile; try again")
        try:
            now = self._service.clock.now()
            occasion = rule.admit(request.headers, body, secret=secret, now=now)
        except HookRefused as refused:
            response: Response = self._http.refusal(UNAUTHORIZED, str(refused))
            return response
        if live.resource.spec.paused:
            where = f"trigger_rule {found.name!r}"
            raise InvalidResource.at(where, ("spec", "paused"), "it is paused, and does not fire")
        outcome = await self._fired(found, occasion)
        if outcome.failed:
            where, fact = f"trigger_rule {found.name!r}", "it failed; its owner can see why"
            raise InvalidResource.at(where, ("spec", "action"), fact)
        return self._answer(_told(outcome))

    async def _opened(self, live: Live) -> str:
        """Return the secret of a trigger with what it stands for.

        :raises NotFired: that is not there
        """
        text = live.rule.secret if isinstance(live.rule, Webhook) else ""
        try:
            return str((await opened(self._engine, {"secret": text}))["secret"])
        except FlowdaptError as error:
            live.error = f"it cannot be called: {error}"
            logger.warning("trigger %r cannot be called: %s", live.resource.name, error)
            raise NotFired("this trigger cannot work at present; try again later") from None

    async def attempt(self, request: Request) -> Response:
        """Return what a trigger would have done on an event, or since a time."""
        asked = Trying.parse(await self._body(request), where="request body")
        if (asked.name is None) is (asked.trigger is None):
            fact = "name a trigger that is applied, or give one as `trigger`"
            raise InvalidResource.at("request body", ("name",), fact)
        if asked.name is not None:
            trigger = await self._engine.get(TriggerRule, asked.name)
        else:
            self._http.needs(request, self._http.Role.ADMIN)  # it may say what takes long
            trigger = TriggerRule.parse(asked.trigger, where="request body", strict=True)
        trial = Trial(self._service, trigger)
        if asked.event is not None:
            found = trial.on_one(asked.event)
            firings = [] if found is None else [found]
        else:
            firings = [*await trial.since(ago(self._service.clock.now(), asked.since or 0.0))]
        facts = {"tried": trial.tried, "firings": firings, "more": trial.more}
        return self._reply(request, facts)

    async def backfill(self, request: Request) -> Response:
        """Run a workflow for a period, with the period as its input, unless that was done."""
        period = Period.parse(await self._body(request), where="request body")
        workflow = await self._engine.get(Workflow, _name(request))
        start, end = timestamp(period.start), timestamp(period.end)
        if period.end <= period.start:
            raise InvalidResource.at("request body", ("end",), f"{end} is not after {start}")
        uid = uuid5(workflow.metadata.uid, f"period {start} {end}")
        given = {"start": start, "end": end, **period.input}
        try:
            run = await self._engine.submit(workflow.metadata.uid, given, uid=uid)
        except ResourceExists:
            run, new = await self._engine.find_run(uid), False
        else:
            new = True
        facts = {"run": run.uid, "name": run.name, "state": run.state, "new": new}
        return self._reply(request, facts)

    async def _body(self, request: Request) -> Any:
        return await request.app.state.bodies.read_object(request)

    def _reply(self, request: Request, value: Any) -> Response:
        response: Response = self._http.negotiated(request).reply(orjson.dumps(value))
        return response

    def _answer(self, value: Any) -> Response:
        response: Response = self._http.Response(orjson.dumps(value), media_type="application/json")
        return response


def _told(outcome: Outcome) -> Fired:
    run = outcome.run
    return {"run": run.uid if run else None, "name": run.name if run else None, "why": outcome.why}


def _name(request: Request) -> str:
    return str(request.path_params["identifier"])
