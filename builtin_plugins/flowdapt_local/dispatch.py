"""Gives what waits to workers as room for it comes free, and takes their answers."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from flowdapt_workers.asking import Asked
from flowdapt_workers.calls import Done, Facts, Failed
from flowdapt_workers.crew import Crew
from flowdapt_workers.jobs import Job, Unit, began
from flowdapt_workers.mapped import Mapped
from flowdapt_workers.processes import Kind, Process
from flowdapt_workers.queues import Queue
from flowdapt_workers.raw_output import drain, lines_of
from flowdapt_workers.spool import Spool
from flowdapt_workers.wire import Message

from flowdapt.errors import RunCancelled, WorkerLost
from flowdapt.executors import Host
from flowdapt.storage import LogBlock
from flowdapt_local.insisting import insist
from flowdapt_local.ledger import Ledger, Taken
from flowdapt_local.looking import Lookups

logger = logging.getLogger(__name__)

IDLE_MOST = 16  #: units of one job that wait for others to be computed, each in a worker of its own
#: such units of all jobs; from there on each job has one, so that calls of calls still end
IDLE_IN_ALL = 64
SPARE_MOST = 16  #: workers of a kind that are kept though they are more than processors


class Dispatch:
    """The queue of jobs, the workers, and who computes what.

    :param facts: returns what a worker of a kind is told when it is made
    :param spool: holds the large results of runs
    :param contexts: pickled, by run; a worker gets one before the first call of the run
    """

    def __init__(
        self,
        host: Host,
        ledger: Ledger,
        preload: Sequence[str],
        facts: Callable[[Kind], Facts],
        spool: Spool,
        *,
        contexts: dict[str, bytes],
    ) -> None:
        self._host, self._ledger, self._spool = host, ledger, spool
        self.crew = Crew(
            preload,
            facts=facts,
            received=self._received,
            printed=self._printed,
            lost=lambda process: self.later(self._bury(process)),
        )
        self.numbers = itertools.count(1)
        self.contexts = contexts
        self._jobs = Queue()
        self._spooled: set[str] = set()
        self._taken: dict[int, Taken] = {}
        self._idle: set[Unit] = set()  # that wait for others to be computed
        self.lookups = Lookups(self.crew, self._became_idle)
        self._tasks: set[asyncio.Task[None]] = set()
        self._node = os.uname().nodename
        self._width = int(ledger.total["cpus"]) or 1

    async def stop(self) -> None:
        """End every job, and every worker whatever it computes."""
        for job in self._jobs:
            job.failed(RunCancelled("the executor was stopped"))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.crew.stop()
        for taken in self._taken.values():  # the ledger may be of use to another start
            self._ledger.give(taken)
        self._taken.clear()

    def later(self, work: Coroutine[Any, Any, None]) -> None:
        """Have work done in the background; what it raises is logged."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done_later)

    def _done_later(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("the local executor failed at something", exc_info=error)

    # Giving out ------------------------------------------------------------------------------

    def queue(self, job: Job, *, first: bool = False) -> None:
        """Have a job computed; it starts as soon as there is room."""
        self._jobs.add(job, first=first)
        self.pump()

    def pump(self) -> None:
        """Give units to workers, while anything fits; a lower priority has what others leave."""
        for line in self._jobs.lines():
            while self._take_turns(line):
                pass

    def _take_turns(self, line: deque[Job]) -> bool:
        """Give a unit of each job, or all of one that is alone; tell whether any might get more."""
        more = False
        for _ in range(len(line)):
            if not line or self._ledger.exhausted:
                return False
            job = line.popleft()
            alone = not line
            while not job.over and job.waiting() and self._give(job):
                if not alone and not job.is_async:
                    more = more or job.waiting()
                    break
            if not job.over and (job.waiting() or job.paused or isinstance(job, Mapped)):
                line.append(job)
        return more

    def resume(self, job: Job) -> None:
        """Go on with a job, in which there is something to compute again."""
        if not job.over and job not in self._jobs:
            self._jobs.add(job)
        self.pump()

    def _give(self, job: Job) -> bool:
        """Give one unit to a worker; tell whether there was room and a worker for it."""
        if not job.admitted():
            return False
        most = IDLE_MOST if len(self._idle) < IDLE_IN_ALL else 1
        if self._idle and sum(unit.job is job for unit in self._idle) >= most:
            return False
        if job.is_async and (waiter := self.crew.idle(job.kind)) is not None:
            held = self._ledger.take(job.held)
            if held is not None:
                unit = job.take(len(self.crew.all))
                unit.at_once = False
                self._send(waiter, unit, held)
            return held is not None
        taken = self._ledger.take(job.wanted)
        if taken is None:
            return False
        kind = replace(job.kind, gpus=taken.gpus)
        process = self.crew.take(kind)
        if process is None:
            self._ledger.give(taken)
            if self.crew.hopeless(kind):
                job.failed(WorkerLost(job.call.stage, "workers die before they do anything"))
            elif self.crew.reserve(kind, self._width):
                self.later(self.fork(kind, reserved=True))
            return False
        self._send(process, job.take(self._width), taken)
        return True

    def _send(self, process: Process, unit: Unit, taken: Taken) -> None:
        job, number, run = unit.job, next(self.numbers), unit.job.task.run
        if run not in process.contexts:
            process.send("context", run, self.contexts[run])
            process.contexts.add(run)
        process.units[number] = unit
        self._taken[number] = taken
        if unit.piece is None:
            process.send("call", number, job.task, unit.tried, unit.failed)
        else:
            mapping = job.number
            if mapping not in process.mappings:
                process.send("map", mapping, job.task)
                process.mappings.add(mapping)
                job.outcome.add_done_callback(lambda _: _unmap(process, mapping))
            span = unit.piece, unit.start, unit.count
            process.send("chunk", number, mapping, *span, unit.tried, unit.failed)
        if job.worker is None:
            job.worker = f"process {process.pid}"
            job.began = began(job.worker, self._node)
            self.moved(job)

    async def fork(self, kind: Kind, *, reserved: bool = False) -> None:
        """Make another worker and give it something to do."""
        try:
            process = await self.crew.fork(kind, reserved=reserved)
        except OSError as error:
            if not any(process.kind == kind for process in self.crew.all):
                self._give_up(kind, str(error))
            raise
        self._became_idle(process)

    def _give_up(self, kind: Kind, cause: str) -> None:
        """Fail what waits for workers of a kind, because nothing would ever wake it."""
        for job in self._jobs:
            if job.kind.code == kind.code and job.waiting():
                job.failed(WorkerLost(job.call.stage, cause))

    def _became_idle(self, process: Process) -> None:
        if not process.stopping:
            self.crew.put(process)
        elif not process.units:
            self.crew.close(process)
        self.pump()
        self.crew.thin(process.kind, max(self._width, SPARE_MOST))

    # Answers ---------------------------------------------------------------------------------

    def _received(self, process: Process, message: Message) -> None:
        kind, *rest = message
        if kind == "log":
            run, stage, lines, count = rest
            self._host.on_log(UUID(run), LogBlock(stage, lines, count))
        elif kind == "item":
            number, place, text = rest
            job = process.units[number].job
            if not job.over:
                self._host.on_item(job.call.run, job.call.stage, place, text)
        elif kind == "found":
            self.lookups.found(*rest)
        elif kind == "ask":
            self._asked(process, *rest)
        elif kind == "entered":
            process.units[rest[0]].begin(lambda: self._stop(process, [rest[0]]))
        elif kind == "deferred":
            unit = process.units[rest[0]]
            unit.deferred = unit.job.is_async = True
            process.deferred += 1
            self._taken[rest[0]] = self._ledger.give_cpus(self._taken[rest[0]])
            self._freed(process, unit)
        else:
            drain(process, self._printed)
            self._answered(process, rest[0], rest[1])

    def _asked(self, process: Process, number: int, question: int, asked: Asked | None) -> None:
        """Have a question of a unit answered."""
        if number not in process.units:
            return  # a thread asks that the stage left behind
        unit: Unit = process.units[number]
        if unit.over or unit.late:
            return  # nothing starts any more: it is about to be interrupted

        def tell(text: bytes) -> None:
            if process.units.get(number) is unit:
                process.answer(question, text)
                self._waits(number, unit)

        unit.ask(self._host, question, asked, tell)
        self._waits(number, unit)

    def _waits(self, number: int, unit: Unit) -> None:
        """Have a unit give back its processors while it waits for others to be computed.

        Then it takes them again at once, though others may have them by now: for a while they are
        more than the machine has. To wait for them would be of no use, as it holds its memory.
        """
        taken = self._taken[number]
        if unit.deferred or unit.idle == (unit in self._idle):
            return
        if unit.idle:
            self._idle.add(unit)
            self._taken[number] = self._ledger.give_cpus(taken)
            self.pump()
        else:
            self._idle.remove(unit)
            self._taken[number] = self._ledger.take_cpus(taken, unit.job.wanted["cpus"])

    def _answered(self, process: Process, number: int, answer: Done | Failed) -> None:
        unit = process.units.pop(number)
        self._idle.discard(unit)
        job = unit.job
        if not isinstance(answer, Done) or answer.spooled:  # what failed may have written, too
            self._wrote(job.task.run)
        text, attempts, over = None, job.attempts, job.over
        if isinstance(answer, Done) and answer.json and not over:
            text = memoryview(self._spool.content(answer.json))
        job.answered(unit, answer, text)
        if not over and (unit.piece is not None or job.attempts > attempts):
            self.moved(job)
        if unit.deferred:
            process.deferred -= 1
        if unit.piece is None and not job.over:  # those that map stay in the queue
            self._jobs.add(job)
        self._ledger.give(self._taken.pop(number))
        self._freed(process, unit)

    def _freed(self, process: Process, unit: Unit) -> None:
        """Give the worker something else, if it has the time now."""
        if unit.at_once:
            unit.at_once = False
            self._became_idle(process)
        elif process.stopping and not process.units:
            self.crew.close(process)
        else:
            self.pump()

    async def _bury(self, process: Process) -> None:
        """Free what a dead worker held, and have its units tried again."""
        drain(process, self._printed)
        cause = await process.cause() if process.units else ""
        self.crew.close(process)
        units, process.units = process.units, {}
        for number, unit in units.items():
            self._wrote(unit.job.task.run)  # perhaps; nobody is left to say
            if (taken := self._taken.pop(number, None)) is not None:
                self._ledger.give(taken)
            job = unit.job
            self._idle.discard(unit)
            if not (job.over or unit.late):
                unit.answering = None  # whoever computes it again asks again
            unit.end()
            if job.over:
                continue
            if unit.late:
                job.late(unit)
            elif process.killed:
                job.returned(unit)
            else:
                trace = {"trace_id": job.call.run.hex}
                logger.warning("stage %r lost a worker: %s", job.call.stage, cause, extra=trace)
                job.lost(unit, cause)
            self.moved(job)
            if job not in self._jobs and not job.over:
                self._jobs.add(job)
        self.pump()

    # Cancelling and releasing ----------------------------------------------------------------

    def cancel(self, run: UUID, stage: str | None = None) -> None:
        """Stop what is computed for a run, or for one stage of it, within a second."""

        def meant(job: Job) -> bool:
            return job.call.run == run and stage in (None, job.call.stage)

        for job in filter(meant, list(self._jobs)):
            job.failed(RunCancelled())
            self._jobs.remove(job)
        for process in list(self.crew.all):
            units = {n: unit for n, unit in process.units.items() if meant(unit.job)}
            for unit in units.values():
                unit.job.failed(RunCancelled())
                unit.ask_no_more()
            if units:
                self._stop(process, [*units])

    def _stop(self, process: Process, numbers: Sequence[int]) -> None:
        """Have units of a worker end: tell it, interrupt it, and kill it where that is no use."""
        for number in numbers:
            process.stop(number)
        self.later(insist(process, numbers))

    def _wrote(self, run: str) -> None:
        """Note that a run has files; those of one that was released meanwhile go at once."""
        self._spooled.add(run)
        if run not in self.contexts:
            self._remove(run)

    def release(self, run: str) -> None:
        """Forget what workers know of a run, which is over, and remove its files."""
        del self.contexts[run]
        for process in self.crew.all:
            if run in process.contexts:
                process.contexts.discard(run)
                process.send("forget", run)
        if run in self._spooled:
            self._remove(run)

    def _remove(self, run: str) -> None:
        self._spooled.discard(run)
        self.later(asyncio.to_thread(self._spool.forget, run))

    # Telling ---------------------------------------------------------------------------------

    def moved(self, job: Job) -> None:
        """Tell how far a job is."""
        self._host.on_progress(job.progress())

    def _printed(self, process: Process, data: bytes) -> None:
        """Add what a library or a child process wrote to the log of the stage that is computed."""
        unit = next((u for u in process.units.values() if not u.deferred), None)
        block = lines_of(process, data, unit and unit.job.call.stage)
        if block is not None and unit is not None:
            self._host.on_log(unit.job.call.run, block)


def _unmap(process: Process, number: int) -> None:
    process.mappings.discard(number)
    process.send("unmap", number)
