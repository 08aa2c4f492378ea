"""The processes of a Dask worker that compute stages."""

from __future__ import annotations

import asyncio
import itertools
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from flowdapt_workers.asking import Asked
from flowdapt_workers.calls import Done, Facts, Failed, Piece, Task
from flowdapt_workers.crew import Crew
from flowdapt_workers.jobs import ASYNC_AT_ONCE
from flowdapt_workers.processes import Kind, Process
from flowdapt_workers.raw_output import drain, lines_of
from flowdapt_workers.wire import Message

GRACE_SECONDS = 0.25  #: how long a function that is told to stop may take before it is interrupted
INTERRUPT_SECONDS = 0.35  #: how long an interrupted one may take before its process is killed
MAPPINGS = 4  #: mapped stages whose arguments a process keeps
CONTEXTS = 64  #: runs whose input a process keeps
SPARE_SECONDS = 60.0  #: how long a process waits for work of its kind

T = TypeVar("T")

Log = Callable[[str, str, bytes, int], None]  #: run, stage, lines, their count


class ChildLost(Exception):
    """The process that computed something died; the message says of what."""


@dataclass(slots=True)
class Work:
    """What a process is to compute.

    :param mapping: the number of the mapped stage that the piece is of
    :param deferred: the rest is awaited
    :param displaced: its process was killed because of something else, and it is not at fault
    :param defers: called when it is, and no processor is needed any more
    :param enters: called when the function is called, if its time will be counted
    :param tells: called with each item that its generator yields, a number and a text
    :param asks: called with what its code asks: a number, and nothing for it where it does not
        wait any more
    :param pid: of the process that was given the work
    """

    task: Task
    context: bytes
    mapping: int = 0
    piece: Piece | None = None
    start: int = 0
    count: int = 1
    attempt: int = 1
    failed: int = 0
    deferred: bool = False
    displaced: bool = False
    defers: Callable[[], None] = lambda: None
    enters: Callable[[], None] = lambda: None
    tells: Callable[[int, bytes], None] = lambda *_: None
    asks: Callable[[int, Asked | None], None] = lambda *_: None
    pid: int = 0


class Children:
    """Processes by kind, each of which computes one thing at a time, and awaits many.

    :param facts: returns what a process of a kind is told when it is made
    :param log: is told what stages write
    """

    def __init__(self, facts: Callable[[Kind], Facts], log: Log) -> None:
        self._log = log
        self._crew = Crew(
            (), facts=facts, received=self._received, printed=self._printed, lost=self._lost
        )
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Done | Failed]] = {}
        self._known: dict[Process, tuple[OrderedDict[str, None], OrderedDict[int, None]]] = {}
        self._rested: dict[Process, float] = {}  # since when a process has nothing to do
        self._dying: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._crew.all)

    async def warm_up(self) -> None:
        """Have one process ready, and what forks further ones."""
        self._rest(await self._crew.fork(Kind()))

    async def compute(self, kind: Kind, work: Work) -> Done | Failed:
        """Compute something; when this is cancelled, so is that, and within a second.

        :raises ChildLost: its process died
        """
        while True:
            try:
                return await self._computed(kind, work)
            except ChildLost:
                if not work.displaced:
                    raise
                work.displaced = work.deferred = False

    async def _computed(self, kind: Kind, work: Work) -> Done | Failed:
        process = self._crew.take(kind)
        if process is None:
            if self._crew.hopeless(kind):
                raise ChildLost("processes die before they do anything")
            try:
                process = await self._crew.fork(kind)
            except OSError as error:
                raise ChildLost(str(error)) from error
        self._rested.pop(process, None)
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        process.units[number] = work
        try:
            self._give(process, number, work)
            return await asyncio.shield(answer)
        except asyncio.CancelledError:
            await self._stop(process, number, answer)
            raise
        finally:
            del self._answers[number]
            self._ended(process, number)

    def _give(self, process: Process, number: int, work: Work) -> None:
        if process.gone:
            raise ChildLost("its process is gone")
        runs, mappings = self._known.setdefault(process, (OrderedDict(), OrderedDict()))
        run = work.task.run
        if run not in runs:
            process.send("context", run, work.context)
        for old in _kept(runs, run, CONTEXTS):
            process.send("forget", old)
        if work.piece is None:
            process.send("call", number, work.task, work.attempt, work.failed)
        else:
            if work.mapping not in mappings:
                process.send("map", work.mapping, work.task)
            for unused in _kept(mappings, work.mapping, MAPPINGS):
                process.send("unmap", unused)
            span = work.piece, work.start, work.count
            counted = work.attempt, work.failed
            process.send("chunk", number, work.mapping, *span, *counted)
        work.pid = process.pid

    async def _stop(
        self, process: Process, number: int, answer: asyncio.Future[Done | Failed]
    ) -> None:
        """Tell what a process computes to stop, interrupt it, and kill it where that is no use."""
        work = process.units[number]
        process.stop(number)
        await asyncio.wait([answer], timeout=GRACE_SECONDS)
        if not answer.done() and not work.deferred:
            process.interrupt()
        if not answer.done():
            await asyncio.wait([answer], timeout=INTERRUPT_SECONDS)
        if not answer.done():
            busy = any(not w.deferred and w is not work for w in process.units.values())
            process.stopping = True
            if not busy:  # else it computes for others, and hears of it only afterwards
                process.kill()  # what waits there is computed by another one
                await asyncio.wait([answer])
        if answer.done() and not answer.cancelled():
            answer.exception()  # nobody else asks

    def answer(self, work: Work, question: int, text: bytes) -> None:
        """Answer what the code of some work asked."""
        for process in self._crew.all:
            if any(one is work for one in process.units.values()):
                process.answer(question, text)

    def _ended(self, process: Process, number: int) -> None:
        """Note that a process is not asked for something any more."""
        work = process.units.pop(number)
        if not work.deferred:
            self._rest(process)
            return
        process.deferred -= 1
        if process.stopping or process.deferred == ASYNC_AT_ONCE - 1:
            self._rest(process)

    def _rest(self, process: Process) -> None:
        """Have a process wait for further work, or end where it is not to have any."""
        if not process.stopping:
            self._rested[process] = asyncio.get_running_loop().time()
            if process.deferred < ASYNC_AT_ONCE:
                self._crew.put(process)
        elif not process.units:
            self._close(process)

    def _close(self, process: Process) -> None:
        self._known.pop(process, None)
        self._rested.pop(process, None)
        self._crew.close(process)

    def sweep(self, codes: set[str], most: int) -> None:
        """Let go of processes that are of no use any more.

        :param codes: of which kinds are still wanted
        :param most: how many may rest for long
        """
        self._crew.retire(codes)
        for process in [p for p in self._rested if p not in self._crew.all]:
            self._close(process)
        now = asyncio.get_running_loop().time()
        for process in list(self._crew.all):
            if process.units or now - self._rested.get(process, now) < SPARE_SECONDS:
                continue
            if len(self._crew.all) > most:
                self._close(process)
            else:
                self._forget(process)

    def _forget(self, process: Process) -> None:
        """Have a process let go of arguments that it may never need again."""
        runs, mappings = self._known.pop(process, ({}, {}))
        for mapping in mappings:
            process.send("unmap", mapping)
        for run in runs:
            process.send("forget", run)

    async def stop(self) -> None:
        """End all processes, whatever they compute."""
        await self._crew.stop()
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(ChildLost("its worker ended"))

    # What they say ---------------------------------------------------------------------------

    def _received(self, process: Process, message: Message) -> None:
        kind, *rest = message
        if kind == "log":
            self._log(*rest)
        elif kind == "entered":
            process.units[rest[0]].enters()
        elif kind == "ask":
            if (asking := process.units.get(rest[0])) is not None:  # or it left a thread behind
                asking.asks(*rest[1:])
        elif kind == "item":
            process.units[rest[0]].tells(*rest[1:])
        elif kind == "deferred":
            work: Work = process.units[rest[0]]
            work.deferred = True
            process.deferred += 1
            work.defers()
            self._rest(process)
        elif (answer := self._answers.get(rest[0])) is not None and not answer.done():
            drain(process, self._printed)
            answer.set_result(rest[1])

    def _lost(self, process: Process) -> None:
        burying = asyncio.create_task(self._bury(process))
        self._dying.add(burying)
        burying.add_done_callback(self._dying.discard)

    async def _bury(self, process: Process) -> None:
        drain(process, self._printed)
        cause = await process.cause() if process.units else ""
        self._close(process)
        for number in list(process.units):
            answer = self._answers.get(number)
            if answer is not None and not answer.done():
                process.units[number].displaced = process.killed
                answer.set_exception(ChildLost(cause))

    def _printed(self, process: Process, data: bytes) -> None:
        """Add what a library or a child process wrote to the log of the stage that is computed."""
        work = next((w for w in process.units.values() if not w.deferred), None)
        block = lines_of(process, data, work and work.task.stage)
        if block is not None and work is not None:
            self._log(work.task.run, block.stage, block.lines, block.count)


def _kept(known: OrderedDict[T, None], used: T, most: int) -> list[T]:
    """Note a use; return what is to be forgotten for it."""
    known[used] = None
    known.move_to_end(used)
    return [known.popitem(last=False)[0] for _ in range(len(known) - most)]
