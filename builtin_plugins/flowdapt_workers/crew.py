"""The workers there are: made when they are needed, kept while they are of use."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence

from flowdapt_workers import wire
from flowdapt_workers.calls import Facts
from flowdapt_workers.jobs import ASYNC_AT_ONCE
from flowdapt_workers.processes import Kind, Process, Zygote
from flowdapt_workers.wire import Message

logger = logging.getLogger(__name__)

FORK_ATTEMPTS = 10  #: how often a worker is tried to be made while the zygote dies
FORK_PAUSES = 0.02, 1.0  #: seconds after the first of them, and at most; each is twice as long
STILLBORN_MOST = 5  #: workers of a kind that may die in a row before any of them said anything


class Crew:
    """Worker processes by kind.

    :param preload: modules that all workers share
    :param facts: returns what a worker of a kind is told when it is made
    :param received: called with a worker and each message of it
    :param printed: called with a worker and what it wrote past Python
    :param lost: called with a worker that is gone
    """

    def __init__(
        self,
        preload: Sequence[str],
        *,
        facts: Callable[[Kind], Facts],
        received: Callable[[Process, Message], None],
        printed: Callable[[Process, bytes], None],
        lost: Callable[[Process], None],
    ) -> None:
        self.all: set[Process] = set()
        self._facts, self._received, self._lost = facts, received, lost
        self._zygote = Zygote(list(preload), self._heard, printed, self._gone)
        self._idle: dict[Kind, list[Process]] = {}
        self._forking: Counter[Kind] = Counter()
        self._stillborn: Counter[Kind] = Counter()

    async def fork(self, kind: Kind, *, reserved: bool = False) -> Process:
        """Return a new worker, which is not idle yet.

        :param reserved: :meth:`reserve` was asked before
        :raises OSError: the process that forks them dies again and again, or cannot be started
        """
        if not reserved:
            self._forking[kind] += 1
        try:
            process = await self._forked(kind)
        finally:
            self._forking[kind] -= 1
        self.all.add(process)
        if process.gone:  # while it was being connected
            self._gone(process)
        return process

    async def _forked(self, kind: Kind) -> Process:
        pause, longest = FORK_PAUSES
        for _ in range(FORK_ATTEMPTS - 1):  # whoever killed it may kill the next one, too
            try:
                return await self._zygote.fork(kind, self._facts(kind))
            except ConnectionError:
                await asyncio.sleep(pause)
                pause = min(2 * pause, longest)
        return await self._zygote.fork(kind, self._facts(kind))

    def reserve(self, kind: Kind, most: int) -> bool:
        """Tell whether another worker of a kind may be made, and count it as being made if so.

        :param most: how many of them may be on their way at once
        """
        if self._forking[kind] >= most:
            return False
        self._forking[kind] += 1
        return True

    def hopeless(self, kind: Kind) -> bool:
        """Tell whether workers of a kind die before they come up; who asks next may try again."""
        if self._stillborn[kind] < STILLBORN_MOST:
            return False
        del self._stillborn[kind]
        return True

    def take(self, kind: Kind) -> Process | None:
        """Return an idle worker, which is idle no more."""
        idle = self._idle.get(kind)
        return idle.pop() if idle else None

    def put(self, process: Process) -> None:
        """Have a worker be idle, unless it died since whoever puts it here heard of it."""
        if process in self.all:
            self._idle.setdefault(process.kind, []).append(process)

    def idle(self, kind: Kind) -> Process | None:
        """Return the idle worker in which the fewest async calls wait, if it has room for more."""
        idle = [p for p in self._idle.get(kind, ()) if p.deferred < ASYNC_AT_ONCE]
        return min(idle, key=lambda p: p.deferred, default=None)

    def retire(self, keep: set[str]) -> None:
        """Let idle workers go that import from source which is not to be kept."""
        for kind in [kind for kind in self._idle if kind.code not in keep]:
            for process in [p for p in self._idle[kind] if not p.units]:
                self.close(process)

    def thin(self, kind: Kind, most: int) -> None:
        """Let workers of a kind go that have nothing to do, where they are more than so many."""
        idle = self._idle.get(kind, ())
        if len(idle) > most:
            for process in [p for p in idle if not p.units][most:]:
                self.close(process)

    def close(self, process: Process) -> None:
        """Let a worker go; it exits when its socket closes and what it computes is done."""
        self._forget(process)
        if process.channel is not None:
            process.channel.close()
        if process.output is not None:
            process.output.close()

    def _forget(self, process: Process) -> None:
        self.all.discard(process)
        idle = self._idle.get(process.kind, [])
        if process in idle:
            idle.remove(process)
            if not idle:
                del self._idle[process.kind]

    def _heard(self, process: Process, message: Message) -> None:
        self._stillborn.pop(process.kind, None)
        process.heard = True
        if message != wire.UP:
            self._received(process, message)

    def _gone(self, process: Process) -> None:
        process.gone = True
        if process in self.all:
            if not process.heard:
                self._stillborn[process.kind] += 1
            self._forget(process)
            self._lost(process)

    async def stop(self) -> None:
        """End all workers, whatever they compute."""
        processes = list(self.all)
        self.all.clear()
        await self._zygote.stop()
        await asyncio.gather(*(p.cause() for p in processes if p.units))
        for process in processes:
            self.close(process)
