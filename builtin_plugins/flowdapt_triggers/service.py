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
from flowdapt.resources import Workflow
from flowdapt.services import Service
from flowdapt.triggers import EventRule, Occasion, TimeRule, WatchingRule
from flowdapt_triggers import history, notes
from flowdapt_triggers.chains import Chains
from flowdapt_triggers.clock import Clock, WallClock
from flowdapt_triggers.dues import Dues
from flowdapt_triggers.hearing import Hearing
from flowdapt_triggers.history import Past
from flowdapt_triggers.lanes import Lane, Waiting, left_out
from flowdapt_triggers.lives import Live
from flowdapt_triggers.making import Makers
from flowdapt_triggers.misfires import Missed
from flowdapt_triggers.notes import Notes
from flowdapt_triggers.outcomes import Outcome
from flowdapt_triggers.quiet import Quiet
from flowdapt_triggers.resource import TriggerRule
from flowdapt_triggers.wishes import RUN_WORKFLOW, Wishes

if TYPE_CHECKING:
    from flowdapt.server import Server

logger = logging.getLogger(__name__)

LONGEST_CHAIN = 16  #: firings that follow from one another
RESUME_SECONDS = 3600.0  #: events that are longer before the last one are not looked at again
AGAIN_SECONDS = 1.0, 60.0  #: pause after a rule that watches failed, and the longest
STOP_SECONDS = 5.0  #: for which a service that stops waits for actions that do not end
BLIND = "it cannot watch: "

KIND = "trigger_rule"


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
        self._dues = Dues(self.clock, self._lanes.__getitem__, self.problems.__setitem__)
        self._hearing = Hearing[UUID]()
        self._quiet = Quiet[UUID, Occasion](self.clock, self._fire)
        self._watching: dict[UUID, asyncio.Task[None]] = {}
        self._ending: set[asyncio.Task[None]] = set()  #: actions of triggers that were changed
        self._wishes = Wishes(self.engine)
        self._stack, self._ears = ExitStack(), ExitStack()

    # Starting and stopping -------------------------------------------------------------------

    async def start(self) -> None:
        """Have all triggers work that are applied."""
        self.engine.checks[KIND] = self.check
        self._pasts, horizon = await history.read_back(self.engine.storage, self.chains)
        changes = events.RESOURCE_CREATED, events.RESOURCE_CHANGED, events.RESOURCE_DELETED
        self._stack.enter_context(self.engine.events.listening(self._on_change, *changes))
        self._stack.enter_context(self.engine.events.listening(self._wishes.hear, RUN_WORKFLOW))
        for resource in await self.engine.list(TriggerRule):
            if horizon is not None and self.makers.watches(resource.spec):
                past = await history.read_back_all(self.engine.storage, resource)
                self._pasts[resource.metadata.uid] = past
        # None may be changed from here on until all work, or the change would be undone.
        for resource in await self.engine.list(TriggerRule):
            if resource.metadata.uid not in self.lives:
                self._add(resource)
        self._pasts.clear()
        self._dues.start()
        self.notes.start()
        await self._resume(horizon)

    async def stop(self) -> None:
        """Fire no more, and put on record what is not."""
        self._stack.close()
        self._ears.close()
        await self._dues.stop()
        self._quiet.stop()
        for watching in self._watching.values():
            watching.cancel()
        acting = {task for lane in self._lanes.values() if (task := lane.stop()) is not None}
        for task in self._ending:
            task.cancel()
        if acting := acting | self._ending:
            _, stubborn = await asyncio.wait(acting, timeout=STOP_SECONDS)
            for task in stubborn:
                logger.warning("%s does not end, and is left alone", task.get_name())
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
        newest = min(history.moment(last[0]["time"]), self.clock.now())
        oldest = newest - timedelta(seconds=RESUME_SECONDS)
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
            # Also those that it fired for: with one a join begins anew, and quiet has an end.
            if time >= live.since and live.past.may_be_new(time):
                yield live

    # What there is ---------------------------------------------------------------------------

    async def check(self, resource: Any, where: str) -> None:
        """Refuse a trigger whose rule or action cannot be understood."""
        if await self._only_paused(resource):  # such as one whose module is gone
            return
        self.makers.check(resource.spec, where)
        parameters = resource.spec.action.parameters
        name = parameters.get("workflow")
        if resource.spec.action.target == "run_workflow" and "{{" not in str(name):
            try:
                await self.engine.get(Workflow, name)
            except ResourceNotFound:
                said = "trigger %r runs workflow %r, which is not there"
                logger.warning(said, resource.name, name)

    async def _only_paused(self, resource: TriggerRule) -> bool:
        """Tell whether nothing is new of a trigger but that it is paused."""
        if not resource.spec.paused:
            return False
        try:
            there = await self.engine.get(TriggerRule, resource.name)
        except ResourceNotFound:
            return False
        return there.spec.model_copy(update={"paused": True}) == resource.spec

    def _on_change(self, event: Event) -> None:
        if event.data["kind"] != KIND:
            return
        uid = UUID(str(event.data["uid"]))
        new: TriggerRule | None = None
        if event.type != events.RESOURCE_DELETED:
            new = TriggerRule.parse(event.data["resource"], where="stored trigger_rule")
        old, lane = self.lives.get(uid), self._lanes.get(uid)
        whole = old is not None and new is not None and old.goes_on_as(new)
        waiting, quiet, missed = self._remove(uid)
        if new is not None:
            self._add(new, old, whole=whole)
        if whole and uid in self.lives:
            self.notes.add(self.lives[uid])  # it goes on, also after a restart
            for one in waiting:
                self._lanes[uid].take(one)
            if quiet is not None:
                self._take(self.lives[uid], quiet)
        elif lane is not None:
            waiting += [Waiting(one) for one in (quiet, missed) if one is not None]
            reason = "the trigger was paused, changed or deleted"
            if (given_up := left_out(waiting, f"{reason}; try again")) is not None:
                given_up.reason = reason
                lane.miss(given_up)

    def _add(self, resource: TriggerRule, old: Live | None = None, *, whole: bool = False) -> None:
        """Have a trigger work, as it was before or as it is now.

        :param whole: whether it goes on with what the old one has seen
        """
        uid = resource.metadata.uid
        try:
            rule, act = self.makers.made(resource.spec)
        except (Exception, SystemExit) as error:  # such as a plugin that is gone; the others work
            known = isinstance(error, FlowdaptError)
            self.problems[uid] = str(error) if known else f"{type(error).__name__}: {error}"
            logger.error("trigger %r cannot work: %s", resource.name, self.problems[uid])
            return
        since, due = notes.since(resource)
        live = Live(resource, rule, act, self._pasts.pop(uid, Past()), since)
        if old is not None:
            old.hand_on(live, whole=whole)
        live.past.begin(watched=isinstance(rule, WatchingRule))
        if due is not None:
            live.past.seen_to(due)
        live.past.set_right(self.clock.now())
        self.lives[uid] = live
        self._lanes[uid] = Lane(live, self.engine, self.chains, self.notes.add)
        if not resource.spec.paused:
            self._begin(live)

    def _begin(self, live: Live) -> None:
        """Have a rule looked at."""
        uid, rule = live.uid, live.rule
        if isinstance(rule, TimeRule):
            self._dues.add(live, rule)
        elif isinstance(rule, EventRule):
            self._hearing.add(uid, rule)
            self._listen()
        elif isinstance(rule, WatchingRule):
            self._watching[uid] = asyncio.create_task(self._watch(live, rule))

    def _remove(self, uid: UUID) -> tuple[list[Waiting], Occasion | None, Missed | None]:
        """Have a trigger work no more; return what waits in its lane, for quiet, and unseen."""
        self.problems.pop(uid, None)
        live = self.lives.pop(uid, None)
        if live is None:
            return [], None, None
        missed, quiet = self._dues.remove(uid, live), self._quiet.drop(uid)
        if (watching := self._watching.pop(uid, None)) is not None:
            watching.cancel()
        lane = self._lanes.pop(uid)
        waiting = lane.give_up()
        if lane.task is not None:
            self._ending.add(lane.task)
            lane.task.add_done_callback(self._ending.discard)
        if isinstance(live.rule, EventRule):
            self._hearing.remove(uid)
            self._listen()
        return waiting, quiet, missed

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
        if event.type == events.RESOURCE_NOTED:  # that follows from each firing
            return
        told: dict[str, Any] | None = None
        for uid in list(self._hearing.of(event)):
            if event.channel == history.CHANNEL and not self._hears_of_others(uid, event):
                continue
            if told is None:
                told = json.loads(event.text())
            self._meet(uid, told)

    def _hears_of_others(self, uid: UUID, event: Event) -> bool:
        """Tell whether a rule may hear what is on record of triggers, or it would have no end.

        It has to ask for that by its type, and nothing of it may follow from its own firing.
        """
        live = self.lives[uid]
        assert isinstance(live.rule, EventRule)  # noqa: S101 - others hear nothing
        return bool(live.rule.types) and live.resource.name not in history.behind(event.data)

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
        seconds = live.resource.spec.debounce
        if live.past.has(occasion.key):
            waiting = self._quiet.drop(live.uid)  # it was quiet then, after all that came before
            if seconds and waiting is not None and waiting.time > occasion.time:
                self._quiet.wait(live.uid, waiting, seconds)
        elif seconds:
            self._quiet.wait(live.uid, occasion, seconds)
        else:
            self._fire(live.uid, occasion)

    def _fire(self, uid: UUID, occasion: Occasion) -> None:
        if (lane := self._lanes.get(uid)) is not None:  # else it was just deleted
            lane.take(Waiting(occasion))

    async def _watch(self, live: Live, rule: WatchingRule) -> None:
        pause, longest = AGAIN_SECONDS
        while True:
            try:
                fire = partial(self._take, live)
                await rule.watch(fire, since=live.since, seen_to=live.past.due)
                return
            except Exception as error:
                live.error = f"{BLIND}{type(error).__name__}: {error}"
                logger.warning("trigger %r: %s", live.resource.name, live.error)
            await self.clock.sleep(pause)
            pause = min(2 * pause, longest)
            if live.error.startswith(BLIND):
                live.error = ""

    # What others ask for ---------------------------------------------------------------------

    async def fire(self, uid: UUID, occasion: Occasion) -> Outcome:
        """Have a trigger fire now; return what came of it.

        :raises Draining: nothing did, and it can be asked for again
        """
        answer: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._lanes[uid].take(Waiting(occasion, answer))
        return await answer

    def next_time(self, uid: UUID) -> datetime | None:
        """Return when a trigger is due, where that is known."""
        return self._dues.time(uid)
