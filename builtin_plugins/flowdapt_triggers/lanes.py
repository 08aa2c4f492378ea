"""The firings of one trigger: one after another, each once, and each on record."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid5

from flowdapt.errors import Draining, ResourceExists, ResourceNotFound
from flowdapt.triggers import WatchingRule
from flowdapt_triggers import history
from flowdapt_triggers.actions import Firing
from flowdapt_triggers.history import Past
from flowdapt_triggers.misfires import Missed

if TYPE_CHECKING:
    from flowdapt.engine import Engine
    from flowdapt.events import Event
    from flowdapt.runs import Run
    from flowdapt.triggers import Occasion, Rule
    from flowdapt_triggers.chains import Chains
    from flowdapt_triggers.resource import TriggerRule

logger = logging.getLogger(__name__)

ACTION_SECONDS = 300.0  #: how long an action may take that starts no run
MOST_WAITING = 1_000  #: occasions; of more, nothing is done
FEW_WAITING = 10


@dataclass(eq=False)
class Live:
    """A trigger at work.

    :param act: its action
    :param past: for what it fired
    :ivar runs: that it began and that may be in progress, where that matters
    :param since: when it became what it is: of what was before, nothing counts
    """

    resource: TriggerRule
    rule: Rule
    act: Any
    past: Past
    since: datetime
    fired: int = 0
    failed: int = 0
    missed: int = 0
    last_fired: datetime | None = None
    error: str = ""  #: of the last occasion that went wrong
    runs: list[UUID] = field(default_factory=list)

    @property
    def uid(self) -> UUID:
        """Of the trigger."""
        return self.resource.metadata.uid


class Lane:
    """Fires a trigger.

    :param noted: is called once its last firing is on record
    """

    def __init__(self, live: Live, engine: Engine, chains: Chains, noted: Any) -> None:
        self.live, self._engine, self._chains, self._noted = live, engine, chains, noted
        self._waiting: deque[tuple[Occasion | Missed, asyncio.Future[Run | None] | None]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._moved = asyncio.Event()

    def take(
        self, what: Occasion | Missed, answer: asyncio.Future[Run | None] | None = None
    ) -> None:
        """Have the trigger fire for an occasion, or note what it missed, once it is its turn.

        :param answer: becomes the run that began, if one did
        """
        if len(self._waiting) >= MOST_WAITING:
            self._overflow()
        self._waiting.append((what, answer))
        if self._task is None:
            self._task = asyncio.create_task(
                self._work(), name=f"trigger {self.live.resource.name}"
            )

    def _overflow(self) -> None:
        """Leave out the oldest occasion that waits, behind what was left out before."""
        first, _ = self._waiting.popleft()
        if isinstance(first, Missed):
            second, _ = self._waiting.popleft()
            first.also(second.last if isinstance(second, Missed) else second.time)
        else:
            first = Missed(first.time, first.time)
        self._waiting.appendleft((first, None))

    def take_no_more(self) -> None:
        """Do nothing for what waits; what is being done is brought to its end."""
        self._waiting.clear()

    async def stop(self) -> None:
        """Fire no more; what is being done is ended."""
        self._waiting.clear()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def room(self) -> None:
        """Wait until hardly anything waits."""
        while self._task is not None and len(self._waiting) >= FEW_WAITING:
            self._moved.clear()
            await self._moved.wait()

    async def _work(self) -> None:
        try:
            while self._waiting:
                what, answer = self._waiting.popleft()
                self._moved.set()
                answer = answer or asyncio.get_running_loop().create_future()
                try:
                    run = await self._see_to(what)
                except Draining as error:
                    _fail(answer, error)
                except Exception as error:  # such as a storage that is full
                    self.live.error = f"{type(error).__name__}: {error}"
                    logger.exception("trigger %r failed", self.live.resource.name)
                    _fail(answer, error)
                else:
                    if not answer.done():
                        answer.set_result(run)
        finally:
            self._task = None
            self._moved.set()

    async def _see_to(self, what: Occasion | Missed) -> Run | None:
        live = self.live
        if isinstance(what, Missed):
            reason = "nobody was there, the clock was set, or too many waited"
            times = what.first, what.last
            await self._tell(history.missed(live.resource, reason, *times, count=what.count))
            live.missed += what.count or 0
            live.past.seen_to(what.last)
            self._noted(live)
            return None
        if live.past.has(what.key):
            return await self._earlier(what)
        try:
            run = await self._fire(what)
        except Draining as error:
            await self._miss(what, str(error))
            raise
        self._noted(live)
        return run

    async def _earlier(self, occasion: Occasion) -> Run | None:
        """Return the run that began for an occasion which was seen to before."""
        if not self.live.act.starts_run:
            return None
        try:
            return await self._engine.find_run(uuid5(self.live.uid, occasion.key))
        except ResourceNotFound:
            return None

    async def _miss(self, occasion: Occasion, reason: str) -> None:
        live, times = self.live, (occasion.time, occasion.time)
        await self._tell(history.missed(live.resource, reason, *times, key=occasion.key))
        live.missed += 1
        live.past.add(occasion.key, occasion.time)
        self._noted(live)

    async def _tell(self, event: Event) -> None:
        await self._engine.storage.append_event(event)
        self._engine.events.publish(event)

    async def _fire(self, occasion: Occasion) -> Run | None:
        """Do what the trigger is for, if nothing stands against it."""
        live = self.live
        if (held := await self._held_up()) is not None:
            await self._miss(occasion, held)
            return None
        chain = self._chains.behind(occasion)
        if (broken := self._chains.too_long(chain, live.resource)) is not None:
            await self._fail(occasion, broken)
            live.past.add(occasion.key, occasion.time)
            return None
        uid = uuid5(live.uid, occasion.key)
        run = None
        try:
            if live.act.starts_run:
                run = await self._start(occasion, uid, chain)
            else:
                await self._do(occasion, uid)
        except Draining:
            raise
        except Exception as error:
            await self._fail(occasion, _brief(error))
        live.past.add(occasion.key, occasion.time)
        if isinstance(live.rule, WatchingRule):
            # A file may have a time that is to come, and the next ones will not.
            live.past.seen_to(min(occasion.time, self._chains.clock.now()))
        return run

    async def _start(self, occasion: Occasion, uid: UUID, chain: Sequence[str]) -> Run | None:
        live = self.live
        facts: Mapping[str, Any] = {"run": str(uid), "chain": [*chain]}
        event = history.fired(live.resource, occasion, live.resource.spec.action.target, **facts)
        self._chains.begun(uid, [*chain, live.resource.name])
        try:
            run: Run = await live.act(Firing(live.resource, occasion, uid, [event]))
        except ResourceExists:  # it fired for this before, which was not known here
            return None
        self._count()
        if live.resource.spec.concurrency != "allow":
            live.runs.append(run.uid)
        return run

    async def _do(self, occasion: Occasion, uid: UUID) -> None:
        """Do what is no run: it is on record before, so that it is never done twice."""
        live = self.live
        target = live.resource.spec.action.target
        await self._tell(history.fired(live.resource, occasion, target))
        live.past.add(occasion.key, occasion.time)
        self._count()
        async with asyncio.timeout(ACTION_SECONDS):
            await live.act(Firing(live.resource, occasion, uid))

    def _count(self) -> None:
        self.live.fired += 1
        self.live.last_fired = self._chains.clock.now()
        self.live.error = ""

    async def _fail(self, occasion: Occasion, error: str) -> None:
        self.live.failed += 1
        self.live.error = error
        logger.warning("trigger %r: %s", self.live.resource.name, error)
        await self._tell(history.failed(self.live.resource, occasion, error))

    async def _held_up(self) -> str | None:
        """Do what is to become of runs of earlier firings; return why this one may not be."""
        live = self.live
        policy, runs = live.resource.spec.concurrency, live.runs
        if policy == "forbid":
            live.runs = [run for run in runs if await self._in_progress(run)]
            return "the run of an earlier firing is in progress" if live.runs else None
        live.runs = []
        end = self._engine.cancel if policy == "replace" else self._engine.wait
        await asyncio.gather(*map(end, runs), return_exceptions=True)
        return None

    async def _in_progress(self, run: UUID) -> bool:
        try:
            return not (await self._engine.find_run(run)).state.final
        except ResourceNotFound:
            return False


def _fail(answer: asyncio.Future[Any], error: Exception) -> None:
    if not answer.done():
        answer.set_exception(error)
        answer.exception()  # nobody may wait for it


def _brief(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"the action took longer than {ACTION_SECONDS:.0f} s"
    text = str(error).partition("\n")[0]
    return text if text else type(error).__name__


def window_of(resource: TriggerRule) -> timedelta | None:
    """Return how long ago times may be that are made up."""
    seconds = resource.spec.misfire_window
    return None if seconds is None or seconds < 0 else timedelta(seconds=seconds)
