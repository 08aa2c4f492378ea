"""A worker process: takes calls from the server, one after another, and answers them.

A sync function is computed in the main thread. An async one is handed to an event loop in a second
thread, where hundreds may wait at once, and the main thread goes on to the next call.

A message that something is to stop comes with a signal, like an answer to what the code of a stage
asked, so that it is read although something is computed: whoever asks its context knows it then.
What goes on is interrupted by another signal.

From the server: ``("context", run, block)``, ``("call", id, Task)``, ``("map", id, Task)``,
``("chunk", id, map, Piece, start, count)``, ``("forget", run)``, ``("unmap", map)``,
``("stop", id)``, ``("lookup", id, targets)``, ``("answer", question, text)``. Calls and chunks end
with the number of the attempt, and of those before it that failed.
To the server: ``("up",)`` once, ``("done", id, Done)``, ``("failed", id, Failed)``,
``("entered", id)`` of what has a time limit, ``("deferred", id)``, ``("found", id, problems)``,
``("log", run, stage, lines, count)``, ``("item", id, number, text)`` for each that the generator of
a final call yields, ``("ask", id, question, Asked)``, with nothing for the last where nobody waits
for the answer any more.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from contextvars import Context, copy_context
from dataclasses import replace
from functools import partial
from typing import Any

from flowdapt.objects import attached
from flowdapt_workers import importing, payloads, wire
from flowdapt_workers.asking import Asked, Asks, Questions
from flowdapt_workers.attempts import Attempts, Trial
from flowdapt_workers.calls import Done, Facts, Failed, Piece, Task
from flowdapt_workers.computing import Computed, Computing, Mapping, failed_call
from flowdapt_workers.diversion import Diversion
from flowdapt_workers.failures import Interrupted, reported
from flowdapt_workers.lookups import problems_of
from flowdapt_workers.loops import Meter, MeteredLoop
from flowdapt_workers.output import Output, end_lines
from flowdapt_workers.spool import Spool
from flowdapt_workers.uses import Peak

THREAD_SECONDS = 0.05  #: after which a thread of a stage that waits looks for messages itself


def serve(end: socket.socket, facts: Facts) -> None:
    """Work until the server is gone."""
    os.environ.update(facts.environment)
    if facts.snapshot is not None:
        importing.activate_file(facts.snapshot, sets=facts.sets)
    worker = Worker(end, facts)
    signal.signal(signal.SIGINT, worker.interrupt)
    signal.signal(wire.LISTEN, worker.listen)
    signal.siginterrupt(wire.LISTEN, False)
    worker.output.install(facts.log_level)
    worker.loop()


class Worker:
    """The state of a worker process."""

    def __init__(self, end: socket.socket, facts: Facts) -> None:
        self._pipe = wire.Pipe(end)
        self._pid = os.getpid()
        self._sending, self._reading = threading.Lock(), threading.Lock()
        self.output = Output(self._send_log, self._mask)
        self._at_work = Computing(Spool(attached(facts.memory)), self.output)
        self._contexts, self._peak = self._at_work.contexts, Peak()
        self._mappings: dict[int, Mapping | Failed] = {}
        self._async: MeteredLoop | None = None
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._trials: dict[int, Trial] = {}
        self._early: deque[wire.Message] = deque()  # came while something was computed
        self._questions = Questions(partial(self._say, "ask"))
        self._computing = self._listening = self._telling = self._interrupted = False
        self._waiting, self._heard = False, True
        self._diversion: Diversion | None = None

    def loop(self) -> None:
        """Say that this worker is up, and take messages until the server is gone."""
        self._send(*wire.UP)
        while (message := self._next()) is not None:
            kind, *rest = message
            getattr(self, f"_on_{kind}")(*rest)

    def _next(self) -> wire.Message | None:
        if self._early:
            return self._early.popleft()
        with self._reading:
            return self._pipe.receive()

    def listen(self, *_: object) -> None:
        """Take messages while something is computed: what is to stop hears of it at once."""
        self._heard = False
        busy = self._listening or self._waiting
        if self._computing and not busy and os.getpid() == self._pid:
            self._hear()

    def _hear(self) -> None:
        while not self._heard:  # or a signal came when it was too late to look again
            self._listening = True
            here = self._reading.acquire(blocking=False)  # or a thread takes them
            if here:
                self._heard = True
                self._take()
                self._reading.release()
            self._listening = False
            if self._interrupted:
                self.interrupt()
            if not here:
                return

    def _take(self) -> None:
        while (message := self._pipe.received()) is not None:
            if message[0] in ("stop", "answer"):
                getattr(self, f"_on_{message[0]}")(*message[1:])
            else:
                self._early.append(message)

    def wait_for(self, answer: Future[bytes]) -> bytes:
        """Wait for the answer to something that the code of a stage asked."""
        if threading.current_thread() is not threading.main_thread():
            return self._wait_beside(answer)
        with self._reading:
            self._waiting = True  # from now on nobody else takes the answer
        try:
            while not answer.done():
                if not self._pipe.wait():
                    os._exit(0)
                self._heard = False
                self._hear()
        finally:
            self._waiting = False
        self.listen()
        if answer.cancelled():
            raise Interrupted
        return answer.result()

    def _wait_beside(self, answer: Future[bytes]) -> bytes:
        """Wait in a thread that a stage started; the main thread may wait for it, and not listen.

        No signal wakes it then: what a stage waits for in the system goes on behind one.
        """
        while True:
            try:
                return answer.result(THREAD_SECONDS)
            except TimeoutError:
                with self._reading:
                    if self._computing and not self._waiting:
                        self._take()

    def interrupt(self, *_: object) -> None:
        """Stop what is being computed in the main thread; the server sends the signal."""
        # Half of a message would be lost, or take those of others with it.
        self._interrupted = self._listening or self._telling
        if self._computing and not self._interrupted:
            self._computing = False
            raise Interrupted

    def _send(self, *message: Any) -> None:
        if os.getpid() != self._pid:
            os._exit(0)  # a child that a stage forked came out of it; the worker is its parent
        with self._sending:
            self._pipe.send(message)

    def _say(self, *message: Any) -> None:
        """Send what code has to say that is computed, while an interruption waits."""
        if threading.current_thread() is not threading.main_thread():
            self._send(*message)
            return
        self._telling = True
        try:
            self._send(*message)
        finally:
            self._telling = False
        if self._interrupted:
            self.interrupt()

    def _send_log(self, run: str, stage: str, lines: bytes, count: int) -> None:
        self._send("log", run, stage, lines, count)

    def _mask(self, run: str | None, text: str) -> str:
        return self._at_work.mask(run, text)

    def _flush(self) -> None:
        """Send on all that was written so far, before the answer to a call."""
        end_lines()
        self.output.flush()
        if self._diversion is not None and os.getpid() == self._pid:  # no child of a stage
            self._diversion.flush()

    # Messages --------------------------------------------------------------------------------

    def _on_context(self, run: str, block: bytes) -> None:
        self._contexts[run] = context = payloads.load(block)
        if self._diversion is None and callable(vars(context)["config"]):  # it is sealed
            self._diversion = Diversion(partial(self._mask, None))

    def _on_forget(self, run: str) -> None:
        self._contexts.pop(run, None)

    def _on_unmap(self, number: int) -> None:
        self._mappings.pop(number, None)

    def _on_stop(self, number: int) -> None:
        if (trial := self._trials.get(number)) is not None:  # or its answer is on its way
            trial.cancel()
            if self._async is not None:
                self._async.call_soon_threadsafe(self._cancel_task, number)

    def _on_answer(self, question: int, text: bytes) -> None:
        self._questions.answered(question, text)

    def _cancel_task(self, number: int) -> None:
        if (task := self._tasks.get(number)) is not None:
            assert self._async is not None  # noqa: S101 - in which we are
            self._async.call_soon(task.cancel)  # not before it began, or it would never answer

    def _on_lookup(self, number: int, targets: Sequence[str]) -> None:
        self._send("found", number, problems_of(targets))

    def _on_call(self, number: int, task: Task, attempt: int, failed: int) -> None:
        trial = Trial(self._contexts[task.run], attempt, failed)
        work = partial(self._at_work.call, task, partial(self._say, "item", number))
        self._attempt(number, task, work, trial)

    def _on_map(self, number: int, task: Task) -> None:
        try:
            self.output.main = (task.run, task.stage, None)
            self._mappings[number] = Mapping(task, self._at_work)
        except Exception as error:
            self._mappings[number] = reported(error, self._contexts[task.run].at(task.stage))

    def _on_chunk(
        self, number: int, mapping: int, piece: Piece, start: int, count: int, *counted: int
    ) -> None:
        known = self._mappings[mapping]
        if isinstance(known, Mapping):
            work = partial(self._at_work.chunk, known, piece, start, count)
            trial = Trial(self._contexts[known.task.run], *counted)
            self._attempt(number, known.task, work, trial)
        else:
            self._send("failed", number, known)

    def _attempt(
        self, number: int, task: Task, work: Callable[..., Computed], trial: Trial
    ) -> None:
        """Do work in the main thread and answer, unless the answer comes later."""
        self.output.main = (task.run, task.stage, None)
        self._trials[number] = trial
        trial.asks = _Asks(self, self._questions, number)
        if Attempts.of(task.options).timeout is not None:
            trial.entered = partial(self._send, "entered", number)
        self._peak.begin()
        cpu, begun = time.thread_time(), time.perf_counter()
        try:
            self._computing = True
            self._hear()  # it may be cancelled since it was sent
            done = work(trial=trial)
            self._computing = False
        except BaseException as error:
            self._computing = False
            used = _used(begun, time.thread_time() - cpu, self._peak.end())
            self._flush()
            self._end(number)
            self._send("failed", number, failed_call(task, trial, error)._replace(**used))
            if isinstance(error, MemoryError):
                raise SystemExit(1) from None  # what is left of this process cannot be trusted
        else:
            if not isinstance(done, Done):
                self._defer(number, task, done, trial, cpu=time.thread_time() - cpu)
            else:
                used = _used(begun, time.thread_time() - cpu, self._peak.end())
                self._flush()
                self._end(number)
                self._send("done", number, replace(done, **used))

    def _end(self, number: int) -> None:
        del self._trials[number]
        self._questions.forget(number)

    # The event loop of async functions -------------------------------------------------------

    def _defer(
        self,
        number: int,
        task: Task,
        work: Coroutine[Any, Any, Done],
        trial: Trial,
        *,
        cpu: float,
    ) -> None:
        """Have async work done in the event loop; the server learns that the answer comes later.

        :param cpu: processor seconds that it took before
        """
        if self._async is None:
            self._async = MeteredLoop()
            threading.Thread(target=self._async.run_forever, daemon=True, name="async").start()
        self._send("deferred", number)
        variables = copy_context()
        variables.run(self.output.belongs_to, (task.run, task.stage, None))
        meter = Meter(self._async, cpu)
        variables.run(meter.begin)
        answer = self._answer(number, task, work, trial, meter=meter)
        self._async.call_soon_threadsafe(self._begin, number, answer, variables)

    def _begin(self, number: int, answer: Coroutine[Any, Any, None], variables: Context) -> None:
        assert self._async is not None  # noqa: S101 - made before this is called
        doing = self._tasks[number] = self._async.create_task(answer, context=variables)
        doing.add_done_callback(lambda _: self._tasks.pop(number, None))
        if self._trials[number].cancelled:  # before there was anything to cancel
            self._async.call_soon(doing.cancel)

    async def _answer(
        self,
        number: int,
        task: Task,
        work: Coroutine[Any, Any, Done],
        trial: Trial,
        *,
        meter: Meter,
    ) -> None:
        self._peak.wait(number)
        begun = time.perf_counter()
        try:
            done = await work
        except BaseException as error:
            used = _used(begun, meter.end(), self._peak.end_of(number))
            self._flush()
            self._end(number)
            self._send("failed", number, failed_call(task, trial, error)._replace(**used))
        else:
            used = _used(begun, meter.end(), self._peak.end_of(number))
            self._flush()
            self._end(number)
            self._send("done", number, replace(done, **used))


def _used(begun: float, cpu: float, peak: int) -> dict[str, Any]:
    """Return what answers say that an attempt used."""
    seconds = time.perf_counter() - begun
    return {"seconds": seconds, "cpu_seconds": cpu, "peak_memory_bytes": peak}


class _Asks(Asks):
    """How the code of one attempt asks, in a worker.

    :param number: under which it is computed
    """

    def __init__(self, worker: Worker, questions: Questions, number: int) -> None:
        super().__init__()
        self._worker, self._questions, self._number = worker, questions, number
        self._pid = os.getpid()

    def wait(self, asked: Asked) -> bytes:
        """Ask; in the main thread, messages are taken meanwhile."""
        self._check()
        _, answer = self._questions.ask(self._number, asked)
        return self._worker.wait_for(answer)

    async def answer(self, asked: Asked) -> bytes:
        """Ask; the main thread takes the answer, whatever it does."""
        self._check()
        return await self._questions.awaited(self._number, asked)

    def close(self) -> None:
        """Have nobody wait any more."""
        self._questions.forget(self._number)

    def _check(self) -> None:
        if os.getpid() != self._pid:
            raise RuntimeError(
                "the server is asked by a stage, and not by processes that it starts"
            )
