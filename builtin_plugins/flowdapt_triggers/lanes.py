"""The firings of one trigger: one after another, each once, and each on record."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID, uuid5

from flowdapt.errors import Draining, ResourceExists, ResourceNotFound, StorageError
from flowdapt.triggers import Occasion, WatchingRule
from flowdapt_triggers import history
from flowdapt_triggers.actions import Firing
from flowdapt_triggers.misfires import Missed
from flowdapt_triggers.outcomes import Answer, NotFired, Outcome, end

if TYPE_CHECKING:
    from flowdapt.engine import Engine
    from flowdapt.events import Event
    from flowdapt.runs import Run
    from flowdapt_triggers.chains import Chains
    from flowdapt_triggers.lives import Live

logger = logging.getLogger(__name__)

ACTION_SECONDS = 300.0  #: how long an action may take that starts no run
AGAIN_SECONDS = (1.0, 2.0, 4.0, 8.0)  #: pauses after which what could not be stored is tried again
MOST_WAITING = 1_000  #: occasions; of more, nothing is done
FEW_WAITING = 10
RUNS_KNOWN = 1_000  #: in progress, of those that a trigger began; the last ones
MANY_RUNS = 32  #: of which it is looked then and now whether they are in progress


class ActionTimeout(Exception):
    """An action took too long."""


@dataclass(eq=False, slots=True)
class Waiting:
    """What a trigger is to see to.

    :ivar answer: becomes what came of it, for whoever asked
    """

    what: Occasion | Missed
    answer: Answer | None = None


class Lane:
    """Fires a trigger.

    :param noted: is called once its last firing is on record
    """

    def __init__(
        self, live: Live, engine: Engine, chains: Chains, noted: Callable[[Live], None]
    ) -> None:
        self.live, self._engine, self._chains, self._noted = live, engine, chains, noted
        self.task: asyncio.Task[None] | None = None
        self._waiting: deque[Waiting] = deque()
        self._idle: Waiting | None = None  #: what it is the turn of, while nothing is done for it
        self._ended = False
        self._moved = asyncio.Event()

    def take(self, waiting: Waiting) -> None:
        """Have the trigger fire for an occasion, or note what it missed, once it is its turn."""
        if self._ended:
            end(waiting.answer, NotFired("the trigger was changed or deleted; try again"))
            return
        # Files are not told again, and hardly more than their names waits.
        if len(self._waiting) >= MOST_WAITING and not isinstance(self.live.rule, WatchingRule):
            self._overflow()
        self._waiting.append(waiting)
        self._begin()

    def _begin(self) -> None:
        if self.task is None:
            name = f"trigger {self.live.resource.name}"
            self.task = asyncio.create_task(self._work(), name=name)

    def _overflow(self) -> None:
        """Leave out the oldest occasion that waits, behind what was left out before."""
        first = self._waiting.popleft()
        before = first.what if isinstance(first.what, Missed) else None
        oldest = first if before is None else self._waiting.popleft()
        missed = left_out([oldest], "too many calls wait for this trigger")
        if before is not None and missed is not None:
            before.add(missed)
        if (missed := before or missed) is not None:
            self._waiting.appendleft(Waiting(missed))

    # Its end ---------------------------------------------------------------------------------

    def give_up(self) -> list[Waiting]:
        """Bring what is being done to its end; return what nothing was done for, in order."""
        self._ended = True
        left = [*self._waiting]
        self._waiting.clear()
        if (idle := self._idle) is not None and self.task is not None:
            left.insert(0, Waiting(idle.what, idle.answer))
            self._idle, idle.answer = None, None
            self.task.cancel()
        return left

    def miss(self, missed: Missed) -> None:
        """Put on record what is left out in the end."""
        self._waiting.append(Waiting(missed))
        self._begin()

    def stop(self) -> asyncio.Task[None] | None:
        """Fire no more; return what is being done, and is to end."""
        for waiting in self.give_up():
            end(waiting.answer, NotFired("the server stops; try again"))
        if self.task is not None:
            self.task.cancel()
        return self.task

    async def room(self) -> None:
        """Wait until hardly anything waits."""
        while self.task is not None and len(self._waiting) >= FEW_WAITING:
            self._moved.clear()
            await self._moved.wait()

    # What is done ----------------------------------------------------------------------------

    async def _work(self) -> None:
        try:
            while self._waiting:
                waiting = self._waiting.popleft()
                self._moved.set()
                await self._answer(waiting)
        finally:
            self.task = None
            self._moved.set()
            if self._waiting:  # it was given up, and has to say so
                self._begin()

    async def _answer(self, waiting: Waiting) -> None:
        try:
            outcome = await self._see_to_again(waiting)
        except asyncio.CancelledError:
            end(waiting.answer, NotFired("the server stops; try again"))
            raise
        except Draining as error:
            end(waiting.answer, error)
        except Exception as error:  # such as a storage that is full
            self.live.error = f"{type(error).__name__}: {error}"
            logger.exception("trigger %r failed", self.live.resource.name)
            if waiting.answer is None and isinstance(waiting.what, Occasion):
                await self._lose(waiting.what, error)
            end(waiting.answer, error)
        else:
            if waiting.answer is not None and not waiting.answer.done():
                waiting.answer.set_result(outcome)

    async def _see_to_again(self, waiting: Waiting) -> Outcome:
        """See to it, perhaps after some time: a storage may fail for a moment."""
        pauses = () if waiting.answer is not None else AGAIN_SECONDS  # who asked can ask again
        for pause in pauses:
            try:
                return await self._see_to(waiting)
            except Draining:
                raise
            except Exception as error:
                said = "trigger %r is tried again in %g s: %s"
                logger.warning(said, self.live.resource.name, pause, error)
            self._idle = waiting
            await self._chains.clock.sleep(pause)
            self._idle = None
        return await self._see_to(waiting)

    async def _see_to(self, waiting: Waiting) -> Outcome:
        live, what = self.live, waiting.what
        if isinstance(what, Missed):
            await self._leave_out(what)
            return Outcome()
        if live.past.has(what.key):
            return await self._earlier(what)
        try:
            outcome = await self._fire(waiting, what)
        except Draining as error:
            if waiting.answer is None:  # else who asked is told, and may ask again
                await self._miss(what, str(error))
            raise
        self._noted(live)
        return outcome

    async def _earlier(self, occasion: Occasion) -> Outcome:
        """Return what came of an occasion that was seen to before."""
        nothing = Outcome(why="it was seen to before, and is not done twice")
        if not self.live.act.starts_run:
            return nothing
        try:
            return Outcome(await self._engine.find_run(uuid5(self.live.uid, occasion.key)))
        except ResourceNotFound:
            return nothing

    async def _leave_out(self, missed: Missed) -> None:
        times = missed.first, missed.last
        live, count = self.live, missed.count
        await self._tell(history.missed(live.resource, missed.reason, *times, count=count))
        live.tally.missed += missed.count or 0
        live.past.missed_to(missed.last)
        self._noted(live)

    async def _miss(self, occasion: Occasion, reason: str) -> None:
        live, times = self.live, (occasion.time, occasion.time)
        chain, key = self._chains.behind(occasion), occasion.key
        await self._tell(history.missed(live.resource, reason, *times, key=key, chain=chain))
        live.tally.missed += 1
        live.past.add(occasion.key, occasion.time)
        self._noted(live)

    async def _tell(self, event: Event) -> None:
        await self._engine.storage.append_event(event)
        self._engine.events.publish(event)

    async def _fire(self, waiting: Waiting, occasion: Occasion) -> Outcome:
        """Do what the trigger is for, if nothing stands against it."""
        live, chain = self.live, self._chains.behind(occasion)
        if self._chains.over(chain):
            live.past.add(occasion.key, occasion.time)
            return Outcome(why="it follows from a chain of firings that was stopped")
        if (broken := self._chains.stopped(chain, live.resource, occasion)) is not None:
            await self._fail(occasion, broken, chain)
            live.past.add(occasion.key, occasion.time)
            return Outcome(why=broken, failed=True)
        self._idle = waiting
        held = "" if self._engine.draining else await self._held_up()
        self._idle = None
        if self._engine.draining:
            raise Draining()
        if held:
            await self._miss(occasion, held)
            return Outcome(why=held)
        return await self._act(waiting, occasion, chain)

    async def _act(self, waiting: Waiting, occasion: Occasion, chain: Sequence[str]) -> Outcome:
        live = self.live
        runs = live.act.starts_run
        try:
            outcome = await (self._start if runs else self._do)(occasion, chain)
        except Exception as error:
            if runs and isinstance(error, Draining | StorageError):
                raise
            outcome = Outcome(why=_brief(error), failed=True)
            again = runs and waiting.answer is not None
            await self._fail(occasion, outcome.why, chain, again=again)
            if again:
                return outcome
        live.past.add(occasion.key, occasion.time)
        if isinstance(live.rule, WatchingRule):
            # A file may have a time that is to come, and the next ones will not.
            live.past.seen_to(min(occasion.time, self._chains.clock.now()))
        return outcome

    async def _start(self, occasion: Occasion, chain: Sequence[str]) -> Outcome:
        live, uid = self.live, uuid5(self.live.uid, occasion.key)
        target, facts = live.resource.spec.action.target, {"run": str(uid), "chain": [*chain]}
        event = history.fired(live.resource, occasion, target, **facts)
        self._chains.begun(uid, [*chain, live.resource.name])
        try:
            run: Run = await live.act(Firing(live.resource, occasion, uid, [event]))
        except ResourceExists:  # it fired for this before, which was not known here
            return await self._earlier(occasion)
        self._count()
        live.runs.append(run.uid)
        if len(live.runs) % MANY_RUNS == 0:
            await self._forget_ended()
            del live.runs[:-RUNS_KNOWN]
        return Outcome(run)

    async def _do(self, occasion: Occasion, chain: Sequence[str]) -> Outcome:
        """Do what is no run: it is on record before, so that it is never done twice."""
        live, uid = self.live, uuid5(self.live.uid, occasion.key)
        target = live.resource.spec.action.target
        await self._tell(history.fired(live.resource, occasion, target, chain=[*chain]))
        live.past.add(occasion.key, occasion.time)
        self._count()
        limit = asyncio.timeout(ACTION_SECONDS)
        try:
            async with limit:
                await live.act(Firing(live.resource, occasion, uid))
        except TimeoutError:
            if limit.expired():
                raise ActionTimeout(f"the action took longer than {ACTION_SECONDS:.0f} s") from None
            raise
        except asyncio.CancelledError:
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise
            raise RuntimeError("the action was cancelled by something it waited for") from None
        return Outcome()

    def _count(self) -> None:
        self.live.tally.fired += 1
        self.live.tally.last_fired = self._chains.clock.now()
        self.live.error = ""

    async def _fail(
        self, occasion: Occasion, error: str, chain: Sequence[str], *, again: bool = False
    ) -> None:
        live = self.live
        live.error = error
        logger.warning("trigger %r: %s", live.resource.name, error)
        await self._tell(history.failed(live.resource, occasion, error, chain=chain, again=again))
        live.tally.failed += 1

    async def _lose(self, occasion: Occasion, error: Exception) -> None:
        """Try to put on record that something went wrong for good."""
        with suppress(Exception):  # it did before, and is logged
            await self._fail(occasion, _brief(error), self._chains.behind(occasion))
            self.live.past.add(occasion.key, occasion.time)

    async def _held_up(self) -> str:
        """Do what is to become of runs of earlier firings; return why this one may not be."""
        live, engine = self.live, self._engine
        policy, runs = live.resource.spec.concurrency, [*live.runs]
        if policy == "allow":
            return ""
        if policy != "forbid":
            until = engine.cancel if policy == "replace" else engine.wait
            await asyncio.gather(*map(until, runs), return_exceptions=True)
        await self._forget_ended()
        forbidden = policy == "forbid" and live.runs
        return "the run of an earlier firing is in progress" if forbidden else ""

    async def _forget_ended(self) -> None:
        runs = self.live.runs
        ended = {run for run in [*runs] if not await self._in_progress(run)}
        runs[:] = [run for run in runs if run not in ended]  # others may have begun meanwhile

    async def _in_progress(self, run: UUID) -> bool:
        with suppress(ResourceNotFound):
            return not (await self._engine.find_run(run)).state.final
        return False


def left_out(waiting: Sequence[Waiting], reason: str) -> Missed | None:
    """Return what is to be on record of what waited in vain; who asked is told instead."""
    found: Missed | None = None
    for one in waiting:
        if one.answer is not None:
            end(one.answer, NotFired(reason))
            continue
        what = one.what
        missed = what if isinstance(what, Missed) else Missed(what.time, what.time)
        if found is None:
            found = missed
        else:
            found.add(missed)
    return found


def _brief(error: Exception) -> str:
    text = str(error).partition("\n")[0]
    return text if text else type(error).__name__
