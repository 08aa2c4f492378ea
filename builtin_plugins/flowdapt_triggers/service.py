"""The service: triggers as they are applied, made to fire."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import UUID

from flowdapt import events
from flowdapt.errors import FlowdaptError, ResourceNotFound
from flowdapt.events import Event
from flowdapt.resources import Workflow, timestamp
from flowdapt.services import Service
from flowdapt.triggers import EventRule, Occasion, TimeRule, WatchingRule
from flowdapt_triggers import history, misfires, notes
from flowdapt_triggers.chains import Chains
from flowdapt_triggers.clock import Clock, WallClock
from flowdapt_triggers.hearing import Hearing
from flowdapt_triggers.history import Past
from flowdapt_triggers.lanes import Lane, Live, window_of
from flowdapt_triggers.making import Makers
from flowdapt_triggers.notes import Notes
from flowdapt_triggers.resource import TriggerRule
from flowdapt_triggers.timers import Timers

if TYPE_CHECKING:
    from flowdapt.runs import Run
    from flowdapt.server import Server

logger = logging.getLogger(__name__)

LONGEST_CHAIN = 16  #: firings that follow from one another
RESUME_SECONDS = 3600.0  #: events that are longer before the last one are not looked at again
AGAIN_SECONDS = 1.0, 60.0  #: pause after a rule that watches failed, and the longest

KIND = "trigger_rule"
RUN_WORKFLOW = "com.event.workflow.run_workflow"  #: an event that asks for a run


class TriggerService(Service):
    """Fires triggers.

    :param longest_chain: how many firings may follow from one another
    """

    order: ClassVar[int] = 40  # before whoever could ask for it

    def __init__(
        self,
        server: Server,
        *,
        longest_chain: int = LONGEST_CHAIN,
        clock: Clock | None = None,
        **options: Any,
    ) -> None:
        super().__init__(server, **options)
        self.engine, self.clock = server.engine, clock or WallClock()
        self.chains = Chains(self.clock, longest_chain)
        self.makers = Makers(server)
        self.lives: dict[UUID, Live] = {}
        self.notes = Notes(self.engine, self.clock, self.lives)
        self.problems: dict[UUID, str] = {}  #: why triggers that are applied cannot work here
        self._lanes: dict[UUID, Lane] = {}
        self._pasts: dict[UUID, Past] = {}
        self._timers = Timers[UUID](self.clock, self._on_time)
        self._hearing = Hearing[UUID]()
        self._debounced: dict[UUID, asyncio.Task[None]] = {}
        self._watching: dict[UUID, asyncio.Task[None]] = {}
        self._checking: dict[UUID, asyncio.Task[None]] = {}
        self._wishes: set[asyncio.Task[None]] = set()
        self._stack, self._ears = ExitStack(), ExitStack()

    # Starting and stopping -------------------------------------------------------------------

    async def start(self) -> None:
        """Have all triggers work that are applied."""
        self.engine.checks[KIND] = self.check
        self._pasts, horizon = await history.read_back(self.engine.storage, self.chains)
        changes = events.RESOURCE_CREATED, events.RESOURCE_CHANGED, events.RESOURCE_DELETED
        self._stack.enter_context(self.engine.events.listening(self._on_change, *changes))
        self._stack.enter_context(self.engine.events.listening(self._on_wish, RUN_WORKFLOW))
        for count, resource in enumerate(await self.engine.list(TriggerRule)):
            self._add(resource)
            if count % 100 == 0:
                await asyncio.sleep(0)
        self._pasts.clear()
        self._timers.start()
        self.notes.start()
        await self._resume(horizon)

    async def stop(self) -> None:
        """Fire no more, and put on record what is not."""
        self._stack.close()
        self._ears.close()
        await self._timers.stop()
        for lane in self._lanes.values():
            await lane.stop()
        await self.notes.stop()
        for uid in list(self.lives):
            self._remove(uid)
        self.engine.checks.pop(KIND, None)

    async def _resume(self, horizon: datetime | None) -> None:
        """Look once more at the last events; a server that was killed may not have seen to them.

        :param horizon: what happened before is not known to have been seen to, or not
        """
        storage = self.engine.storage
        channels = [name for name in await storage.event_channels() if name != history.CHANNEL]
        last = await history.newest(storage, channels, limit=1)
        if not last:
            return
        oldest = history.moment(last[0]["time"]) - timedelta(seconds=RESUME_SECONDS)
        past = await history.newest(
            storage,
            channels,
            limit=history.READ_BACK,
            since=oldest if horizon is None else max(oldest, horizon),
            wanted=lambda told: any(self._unheard(told)),
        )
        for number, told in enumerate(past):
            for live in list(self._unheard(told)):
                self._meet(live.uid, told)
            if number % 100 == 0:
                await asyncio.sleep(0)

    def _unheard(self, told: Mapping[str, Any]) -> Iterator[Live]:
        """Yield the triggers that an event may meet and that may not have seen to it."""
        data, time = told.get("data"), history.moment(told["time"])
        name = data.get("workflow") if isinstance(data, dict) else None
        for uid in self._hearing.of(Event(type=told["type"], data={"workflow": name})):
            live = self.lives[uid]
            new = time >= live.since and live.past.may_be_new(time)
            if new and not live.past.has(str(told["id"])):
                yield live

    # What there is ---------------------------------------------------------------------------

    async def check(self, resource: Any, where: str) -> None:
        """Refuse a trigger whose rule or action cannot be understood."""
        self.makers.check(resource.spec, where)
        parameters = resource.spec.action.parameters
        name = parameters.get("workflow")
        if resource.spec.action.target == "run_workflow" and "{{" not in str(name):
            try:
                await self.engine.get(Workflow, name)
            except ResourceNotFound:
                said = "trigger %r runs workflow %r, which is not there"
                logger.warning(said, resource.name, name)

    def _on_change(self, event: Event) -> None:
        if event.data["kind"] != KIND:
            return
        uid = UUID(str(event.data["uid"]))
        old = self.lives.get(uid)
        self._remove(uid)
        if event.type != events.RESOURCE_DELETED:
            resource = TriggerRule.parse(event.data["resource"], where="stored trigger_rule")
            self._add(resource, old)

    def _add(self, resource: TriggerRule, old: Live | None = None) -> None:
        """Have a trigger work, as it was before or as it is now."""
        uid = resource.metadata.uid
        try:
            rule, act = self.makers.made(resource.spec)
        except FlowdaptError as error:  # such as a plugin that is gone
            self.problems[uid] = str(error)
            logger.error("trigger %r cannot work: %s", resource.name, error)
            return
        since, due = notes.since(resource)
        past = old.past if old is not None else self._pasts.pop(uid, Past())
        if due is not None:
            past.seen_to(due)
        live = Live(resource, rule, act, past, since)
        if old is not None:
            live.runs = old.runs
        self.lives[uid] = live
        self._lanes[uid] = Lane(live, self.engine, self.chains, self.notes.add)
        if resource.spec.paused:
            return
        if isinstance(rule, TimeRule):
            after = since if past.due is None else max(since, past.due)
            self._timers.set(uid, self._following(live, rule, after))
        elif isinstance(rule, EventRule):
            self._hearing.add(uid, rule)
            self._listen()
        elif isinstance(rule, WatchingRule):
            self._watching[uid] = asyncio.create_task(self._watch(live, rule))

    def _remove(self, uid: UUID) -> None:
        self.problems.pop(uid, None)
        live = self.lives.pop(uid, None)
        if live is None:
            return
        self._timers.set(uid, None)
        for tasks in (self._watching, self._debounced, self._checking):
            if (task := tasks.pop(uid, None)) is not None:
                task.cancel()
        self._lanes.pop(uid).take_no_more()
        if isinstance(live.rule, EventRule):
            self._hearing.remove(uid)
            self._listen()

    # Times -----------------------------------------------------------------------------------

    def _on_time(self, uid: UUID, due: datetime) -> None:
        live, now = self.lives[uid], self.clock.now()
        assert isinstance(live.rule, TimeRule)  # noqa: S101 - others are never timed
        following = self._following(live, live.rule, due)
        if now - due <= misfires.LATE and (following is None or following > now):
            self._lanes[uid].take(_at(due))
            self._timers.set(uid, following)
        else:
            self._checking[uid] = asyncio.create_task(self._catch_up(live, live.rule, due))

    def _following(self, live: Live, rule: TimeRule, after: datetime) -> datetime | None:
        """Return when a rule is due next; one that cannot say is never due, and harms no other."""
        try:
            return rule.due(after)
        except Exception as error:
            said = f"it cannot say when it is due: {type(error).__name__}: {error}"
            self.problems[live.uid] = said
            logger.exception("trigger %r is never due any more", live.resource.name)
            return None

    async def _catch_up(self, live: Live, rule: TimeRule, due: datetime) -> None:
        """See to times that came while nobody was there, or while the clock was set forward."""
        now = self.clock.now()
        spec, before = live.resource.spec, due - timedelta(microseconds=1)
        window = window_of(live.resource)
        try:
            found = misfires.seen_to(rule, before, now, policy=spec.misfire, window=window)
            async for what in found:
                lane = self._lanes[live.uid]
                lane.take(_at(what) if isinstance(what, datetime) else what)
                await lane.room()
        except Exception as error:
            said = f"it cannot say when it was due: {type(error).__name__}: {error}"
            self.problems[live.uid] = said
            logger.exception("trigger %r", live.resource.name)
        self._checking.pop(live.uid, None)
        self._timers.set(live.uid, self._following(live, rule, now))

    # Events ----------------------------------------------------------------------------------

    def _listen(self) -> None:
        """Hear the events that rules want, and no others: many are only told if somebody hears."""
        types = self._hearing.types()
        if types == getattr(self, "_heard_types", frozenset()):
            return
        self._heard_types = types
        self._ears.close()
        if types is None or types:
            self._ears.enter_context(self.engine.events.listening(self._hear, *(types or ())))

    def _hear(self, event: Event) -> None:
        told: dict[str, Any] | None = None
        for uid in list(self._hearing.of(event)):
            if told is None:
                told = json.loads(event.text())
            self._meet(uid, told)

    def _meet(self, uid: UUID, told: Mapping[str, Any]) -> None:
        live = self.lives[uid]
        assert isinstance(live.rule, EventRule)  # noqa: S101 - others hear nothing
        try:
            met = live.rule.met_by(told)
        except Exception as error:  # it is false for this event, and harms no other rule
            live.error = f"on event {told['id']} ({told['type']}): {type(error).__name__}: {error}"
            return
        if met:
            occasion = Occasion(str(told["id"]), history.moment(told["time"]), told)
            self._take(live, occasion)

    def _take(self, live: Live, occasion: Occasion) -> None:
        """Have a trigger fire, once it is quiet where that is wanted."""
        quiet = live.resource.spec.debounce
        if not quiet:
            self._lanes[live.uid].take(occasion)
            return
        if (task := self._debounced.pop(live.uid, None)) is not None:
            task.cancel()
        self._debounced[live.uid] = asyncio.create_task(self._after(quiet, live, occasion))

    async def _after(self, seconds: float, live: Live, occasion: Occasion) -> None:
        await self.clock.sleep(seconds)
        del self._debounced[live.uid]
        self._lanes[live.uid].take(occasion)

    def _on_wish(self, event: Event) -> None:
        """Run the workflow that an event asks for, without waiting."""
        task = asyncio.create_task(self._grant(event.data), name="triggers/wish")
        self._wishes.add(task)
        task.add_done_callback(self._wishes.discard)

    async def _grant(self, data: Any) -> None:
        try:
            name, given = data["identifier"], data.get("payload")
            await self.engine.submit(name, given, source="trigger")
        except (FlowdaptError, KeyError, TypeError, AttributeError) as error:
            logger.warning("event %s asks for a run of %.200r: %s", RUN_WORKFLOW, data, error)

    async def _watch(self, live: Live, rule: WatchingRule) -> None:
        pause, longest = AGAIN_SECONDS
        while True:
            try:
                fire = partial(self._take, live)
                await rule.watch(fire, since=live.since, seen_to=live.past.due)
                return
            except Exception as error:
                live.error = f"it cannot watch: {type(error).__name__}: {error}"
                logger.warning("trigger %r: %s", live.resource.name, live.error)
            await self.clock.sleep(pause)
            pause = min(2 * pause, longest)

    # What others ask for ---------------------------------------------------------------------

    async def fire(self, uid: UUID, occasion: Occasion) -> Run | None:
        """Have a trigger fire now; return the run that began, if one did."""
        answer: asyncio.Future[Run | None] = asyncio.get_running_loop().create_future()
        self._lanes[uid].take(occasion, answer)
        return await answer

    def next_time(self, uid: UUID) -> datetime | None:
        """Return when a trigger is due, where that is known."""
        return self._timers.time(uid)


def _at(due: datetime) -> Occasion:
    """Return the occasion that a time is."""
    text = timestamp(due)
    event = {"type": "com.event.trigger.due", "time": text, "source": "trigger", "data": None}
    return Occasion(text, due, event)
