"""What waits to be computed, and how often it is tried; calls as a whole."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from flowdapt.errors import WorkerLost
from flowdapt.executors import LOST_ATTEMPTS, Call, Handle, Host, Outcome, Progress, StageFailed
from flowdapt.resources import now, timestamp
from flowdapt.runs import Failure
from flowdapt_workers import stored
from flowdapt_workers.asking import Answering, Asked
from flowdapt_workers.attempts import Attempts
from flowdapt_workers.calls import Done, Failed, Piece, Task
from flowdapt_workers.failures import raised
from flowdapt_workers.gates import Gate
from flowdapt_workers.processes import Kind
from flowdapt_workers.uses import Use

ASYNC_AT_ONCE = 256  #: elements of async stages that wait in one worker at once


@dataclass(slots=True, eq=False)
class Unit:
    """What one message asks a worker to compute.

    :param piece: absent for a call as a whole
    :param attempt: from 1; counts the workers that died over it
    :param failed: attempts of the stage that failed, which workers survived
    :param at_once: it is computed in the worker's main thread, which does nothing else meanwhile
    :param clock: what stops it when its time is over, while it is computed
    :param late: its time is over: whatever is answered, it has failed
    :param answering: of what its code asks; who computes it once more asks again, so it is let
        go of where the worker is lost
    """

    job: Job
    piece: Piece | None = None
    order: tuple[int, ...] = ()
    start: int = 0
    count: int = 1
    attempt: int = 1
    failed: int = 0
    at_once: bool = True
    deferred: bool = False
    clock: asyncio.TimerHandle | None = None
    late: bool = False
    answering: Answering | None = None

    @property
    def over(self) -> bool:
        """Whether nobody waits for it any more."""
        return self.job.over

    @property
    def idle(self) -> bool:
        """Whether its code does nothing but wait for others to be computed."""
        return self.answering is not None and self.answering.idle

    @property
    def tried(self) -> int:
        """Which attempt this is, whatever those before ended with."""
        return self.attempt + self.failed

    def begin(self, expire: Callable[[], None]) -> None:
        """Note that its function is called; have it stopped when its time is over."""
        self._stop_clock()  # it may have been called in another worker before
        if self.job.allowed.timeout is not None and not self.late:
            loop = asyncio.get_running_loop()
            self.clock = loop.call_later(self.job.allowed.timeout, self._expire, expire)

    def _expire(self, expire: Callable[[], None]) -> None:
        if not self.job.over:
            self.late = True
            expire()

    def end(self) -> None:
        """Note that it is not computed any more."""
        self._stop_clock()
        self.ask_no_more()
        if self.job.gate is not None:
            self.job.gate.leave(self)

    def ask_no_more(self) -> None:
        """Have nobody wait any more for answers to what its code asked."""
        if self.answering is not None:
            self.answering.close()

    def ask(
        self, host: Host, number: int, asked: Asked | None, tell: Callable[[bytes], None]
    ) -> None:
        """Have something answered that its code asks."""
        call = self.job.call
        if self.answering is None:
            self.answering = Answering(host, call.run, call.stage, self.tried)
        self.answering.ask(number, asked, tell)

    def _stop_clock(self) -> None:
        if self.clock is not None:
            self.clock.cancel()

    def anew(self, **changes: Any) -> Unit:
        """Return the same, to be computed once more."""
        fresh = {"at_once": True, "deferred": False, "clock": None, "late": False}
        return replace(self, **fresh | {"answering": None} | changes)


class Job(ABC):
    """Something to be computed.

    :param wanted: resources of one unit
    :param number: under which workers know a mapped stage
    """

    def __init__(
        self,
        call: Call,
        task: Task,
        kind: Kind,
        wanted: Mapping[str, float],
        *,
        number: int = 0,
    ) -> None:
        self.call, self.task, self.kind, self.wanted = call, task, kind, wanted
        self.number = number
        self.allowed = Attempts.of(task.options)
        self.gate: Gate | None = None  #: to be set where its options limit how many there are
        self._opening: asyncio.TimerHandle | None = None
        #: called when a pause before another attempt has ended
        self.goes_on: Callable[[Job], None] = lambda _: None
        self._pauses: set[asyncio.TimerHandle] = set()
        self.outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self.attempts = 1
        self.worker: str | None = None
        self.began: dict[str, str] | None = None  #: an attempt of which nobody was told yet
        self.use = Use.of(wanted.get("gpus", 0.0), task.args)
        self.is_async = False
        #: what an async function keeps while it waits: all but the processor
        self.held = {name: amount for name, amount in wanted.items() if name != "cpus"}

    @abstractmethod
    def waiting(self) -> bool:
        """Tell whether there is a unit to be given to a worker now."""

    def progress(self, waiting: str | None = None) -> Progress:
        """Return how far it is, for whoever wants to know, once.

        :param waiting: for what it waits, if that is not there
        """
        begun, self.began = self.began, None
        at = self.call.run, self.call.stage, self.worker
        return Progress(*at, attempts=self.attempts, waiting=waiting, began=begun)

    @abstractmethod
    def next(self, workers: int) -> Unit:
        """Return the next unit; there is one.

        :param workers: how many compute at once, for the size of chunks
        """

    @abstractmethod
    def done(self, unit: Unit, done: Done, json: Any = None) -> None:
        """Note the answer to a unit.

        :param json: the text of the result, of a final call
        """

    def admitted(self) -> bool:
        """Tell whether a unit may be computed now; one that may later is seen to then."""
        wait = 0.0 if self.gate is None else self.gate.wait()
        if wait and self._opening is None:

            def opens() -> None:
                self._opening = None
                self.goes_on(self)

            self._opening = asyncio.get_running_loop().call_later(wait, opens)
        return wait == 0.0

    def take(self, workers: int) -> Unit:
        """Return the next unit, which passes the gate where there is one."""
        unit = self.next(workers)
        if self.gate is not None:
            self.gate.enter(unit)
        return unit

    @property
    def holds_results(self) -> bool:
        """Whether some of what it has computed so far is with a cluster."""
        return False

    def failed(self, error: BaseException) -> None:
        """End in an error; what comes afterwards is ignored."""
        for pause in (*self._pauses, *([self._opening] if self._opening else [])):
            pause.cancel()
        self._pauses.clear()
        if not self.outcome.done():
            self.outcome.set_exception(error)
            self.outcome.exception()  # whoever waited may have gone, which is no fault

    def facts(self) -> dict[str, Any]:
        """Return what a stage's record has of it, if it comes to no outcome."""
        return {"cpu_seconds": self.use.cpu_seconds, "used": self.use.told()}

    @property
    def paused(self) -> bool:
        """Whether a unit waits for another attempt, and nobody computes it meanwhile."""
        return bool(self._pauses)

    def answered(self, unit: Unit, answer: Done | Failed, json: Any = None) -> None:
        """Note the answer to a unit, whatever it is.

        :param json: the text of the result, of a final call
        """
        unit.end()
        if self.over:
            return
        self.use.add(answer)
        if unit.late:
            self.late(unit, "" if isinstance(answer, Done) else answer.failure["traceback"])
        elif not isinstance(answer, Done):
            self.raised(unit, answer)
        else:
            self.done(unit, answer, json)

    def raised(self, unit: Unit, failed: Failed) -> None:
        """Note that a unit as a whole failed."""
        if failed.again and self.allowed.retries > unit.failed:
            self._try_again(unit)
        else:
            self.failed(raised(failed))

    def late(self, unit: Unit, where: str = "") -> None:
        """Note that a unit was stopped, because its time was over.

        :param where: the traceback of what it did then, as far as it is known
        """
        index = None if unit.piece is None else unit.piece.indexes(unit.start, 1)[0]
        error = self.allowed.late(self.call.stage, index)
        if self.allowed.again(unit.failed + 1, error):
            self._try_again(unit)
            return
        text = f"{where}\n{type(error).__name__}: {error}\n" if where else ""
        said = {"type": type(error).__name__, "message": str(error), "traceback": text}
        failure = Failure(**said, stage=self.call.stage, item=index)
        self.failed_at(unit, StageFailed(failure, error), failure)

    def failed_at(self, unit: Unit, error: BaseException, failure: Failure) -> None:
        """End because of a unit; a mapped stage may leave the element out instead."""
        del unit, failure
        self.failed(error)

    def tries(self, unit: Unit) -> None:
        """Note which attempt a unit is; of the first that are one more it is told who has them."""
        if unit.tried > self.attempts:
            self.attempts, self.worker = unit.tried, None

    def _try_again(self, unit: Unit) -> None:
        """Have a unit computed once more, after the pause that is due."""
        again = unit.anew(failed=unit.failed + 1)
        self.tries(again)
        pause = self.allowed.pause(again.failed + 1)
        if not pause:
            self._queue(again)
            return

        def goes_on() -> None:
            self._pauses.discard(timer)
            self._queue(again)
            self.goes_on(self)

        timer = asyncio.get_running_loop().call_later(pause, goes_on)
        self._pauses.add(timer)

    @abstractmethod
    def _queue(self, unit: Unit) -> None:
        """Have a unit wait to be given out."""

    @abstractmethod
    def returned(self, unit: Unit) -> None:
        """Take back a unit that nobody computes any more, and nobody is at fault."""

    @abstractmethod
    def lost(self, unit: Unit, cause: str) -> None:
        """Note that the worker died that had this unit."""

    @property
    def over(self) -> bool:
        """Whether nobody waits for the outcome any more."""
        return self.outcome.done()


class Single(Job):
    """A call that is computed as a whole."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._unit: Unit | None = Unit(self)

    def waiting(self) -> bool:
        """Tell whether the call is yet to be given to a worker."""
        return self._unit is not None

    def next(self, workers: int) -> Unit:
        """Return the call."""
        del workers
        unit, self._unit = self._unit, None
        assert unit is not None  # noqa: S101 - the caller asked waiting()
        return unit

    def done(self, unit: Unit, done: Done, json: Any = None) -> None:
        """End with the result."""
        if not self.outcome.done():
            self.outcome.set_result(
                Outcome(
                    done.value,
                    json=json,
                    stored=stored.stored(done.value),
                    attempts=unit.tried,
                    worker=self.worker,
                    cpu_seconds=self.use.cpu_seconds,
                    used=self.use.told(),
                    result_bytes=done.value.size,
                )
            )

    def returned(self, unit: Unit) -> None:
        """Wait for another one who computes it."""
        unit.end()
        self._queue(unit.anew())

    def _queue(self, unit: Unit) -> None:
        self._unit = unit

    def lost(self, unit: Unit, cause: str) -> None:
        """Try again, or fail once it was tried often enough."""
        unit.end()
        if unit.attempt >= LOST_ATTEMPTS:
            self.failed(WorkerLost(self.call.stage, cause, unit.attempt))
        else:
            self._unit = unit.anew(attempt=unit.attempt + 1)
            self.tries(self._unit)


class JobHandle(Handle):
    """A call that is a job.

    :param outcome: the job's, or that of what is made of it
    """

    def __init__(self, job: Job, outcome: asyncio.Future[Outcome] | None = None) -> None:
        super().__init__(job.outcome if outcome is None else outcome)
        self._job = job

    def facts(self) -> dict[str, Any]:
        """Return how far the job came."""
        return self._job.facts()


def began(worker: str, node: str, *, ago: float = 0.0) -> dict[str, str]:
    """Return when an attempt began and where, as a :class:`~flowdapt.executors.Progress` has it.

    :param ago: so many seconds
    """
    at = now() - timedelta(seconds=ago) if ago else now()
    return {"at": timestamp(at), "worker": worker, "node": node}
