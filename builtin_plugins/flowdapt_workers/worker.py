"""A worker process: takes calls from the server, one after another, and answers them.

A sync function is computed in the main thread. An async one is handed to an event loop in a second
thread, where hundreds may wait at once, and the main thread goes on to the next call.

From the server: ``("context", run, block)``, ``("call", id, Task)``, ``("map", id, Task)``,
``("chunk", id, map, Piece, start, count)``, ``("forget", run)``, ``("unmap", map)``,
``("cancel", run)``, ``("lookup", id, targets)``.
To the server: ``("up",)`` once, ``("done", id, Done)``, ``("failed", id, Failed)``,
``("deferred", id)``, ``("found", id, problems)``, ``("log", run, stage, lines, count)``.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from contextvars import Context, copy_context
from dataclasses import replace
from functools import partial
from typing import Any

from flowdapt import payloads
from flowdapt.context import WorkflowRunContext, set_run_context
from flowdapt.objects import attached
from flowdapt_workers import importing, wire
from flowdapt_workers.calls import Done, Facts, Failed, Piece, Task
from flowdapt_workers.computing import Computed, Computing, Mapping
from flowdapt_workers.diversion import Diversion
from flowdapt_workers.failures import Interrupted, reported
from flowdapt_workers.lookups import problems_of
from flowdapt_workers.output import Output, end_lines
from flowdapt_workers.spool import Spool
from flowdapt_workers.uses import Peak


def serve(end: socket.socket, facts: Facts) -> None:
    """Work until the server is gone."""
    os.environ.update(facts.environment)
    if facts.snapshot is not None:
        importing.activate_file(facts.snapshot, sets=facts.sets)
    worker = Worker(end, facts)
    signal.signal(signal.SIGINT, worker.interrupt)
    worker.output.install(facts.log_level)
    worker.loop()


class Worker:
    """The state of a worker process."""

    def __init__(self, end: socket.socket, facts: Facts) -> None:
        self._pipe = wire.Pipe(end)
        self._pid = os.getpid()
        self._sending = threading.Lock()
        self.output = Output(self._send_log, self._mask)
        self._at_work = Computing(Spool(attached(facts.memory)), self.output)
        self._contexts, self._peak = self._at_work.contexts, Peak()
        self._mappings: dict[int, Mapping | Failed] = {}
        self._async: asyncio.AbstractEventLoop | None = None
        self._tasks: dict[str, set[asyncio.Task[None]]] = {}
        self._computing = False
        self._diversion: Diversion | None = None

    def loop(self) -> None:
        """Say that this worker is up, and take messages until the server is gone."""
        self._send(*wire.UP)
        while (message := self._pipe.receive()) is not None:
            kind, *rest = message
            getattr(self, f"_on_{kind}")(*rest)

    def interrupt(self, *_: object) -> None:
        """Stop what is being computed in the main thread; the server sends the signal."""
        if self._computing:
            self._computing = False
            raise Interrupted

    def _send(self, *message: Any) -> None:
        if os.getpid() != self._pid:
            os._exit(0)  # a child that a stage forked came out of it; the worker is its parent
        with self._sending:
            self._pipe.send(message)

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

    def _on_cancel(self, run: str) -> None:
        if self._async is not None:
            self._async.call_soon_threadsafe(self._cancel_tasks, run)

    def _cancel_tasks(self, run: str) -> None:
        for task in self._tasks.get(run, ()):
            task.cancel()

    def _on_lookup(self, number: int, targets: Sequence[str]) -> None:
        self._send("found", number, problems_of(targets))

    def _on_call(self, number: int, task: Task) -> None:
        self._attempt(number, task, partial(self._at_work.call, task))

    def _on_map(self, number: int, task: Task) -> None:
        try:
            self.output.main = (task.run, task.stage, None)
            self._mappings[number] = Mapping(task, self._at_work)
        except Exception as error:
            self._mappings[number] = reported(error, self._contexts[task.run].at(task.stage))

    def _on_chunk(self, number: int, mapping: int, piece: Piece, start: int, count: int) -> None:
        known = self._mappings[mapping]
        if isinstance(known, Mapping):
            work = partial(self._at_work.chunk, known, piece, start, count)
            self._attempt(number, known.task, work)
        else:
            self._send("failed", number, known)

    def _attempt(self, number: int, task: Task, work: Callable[[], Computed]) -> None:
        """Do work in the main thread and answer, unless the answer comes later."""
        self.output.main = (task.run, task.stage, None)
        context = self._contexts[task.run].at(task.stage)
        self._peak.begin()
        cpu, begun = time.thread_time(), time.perf_counter()
        try:
            self._computing = True
            done = work()
            self._computing = False
        except BaseException as error:
            self._computing = False
            self._flush()
            self._send("failed", number, reported(error, context))
            if isinstance(error, MemoryError):
                raise SystemExit(1) from None  # what is left of this process cannot be trusted
        else:
            if not isinstance(done, Done):
                self._defer(number, task, done, context)
            else:
                seconds, cpu = time.perf_counter() - begun, time.thread_time() - cpu
                peak = self._peak.end()
                self._flush()
                used = replace(done, seconds=seconds, cpu_seconds=cpu, peak_memory_bytes=peak)
                self._send("done", number, used)

    # The event loop of async functions -------------------------------------------------------

    def _defer(
        self,
        number: int,
        task: Task,
        work: Coroutine[Any, Any, Done],
        context: WorkflowRunContext,
    ) -> None:
        """Have async work done in the event loop; the server learns that the answer comes later."""
        if self._async is None:
            self._async = asyncio.new_event_loop()
            threading.Thread(target=self._async.run_forever, daemon=True, name="async").start()
        self._send("deferred", number)
        variables = copy_context()
        variables.run(set_run_context, context)
        variables.run(self.output.belongs_to, (task.run, task.stage, None))
        answer = self._answer(number, work, context)
        self._async.call_soon_threadsafe(self._begin, task.run, answer, variables)

    def _begin(self, run: str, answer: Coroutine[Any, Any, None], variables: Context) -> None:
        assert self._async is not None  # noqa: S101 - made before this is called
        doing = self._async.create_task(answer, context=variables)
        tasks = self._tasks.setdefault(run, set())
        tasks.add(doing)
        doing.add_done_callback(tasks.discard)

    async def _answer(
        self, number: int, work: Coroutine[Any, Any, Done], context: WorkflowRunContext
    ) -> None:
        self._peak.wait(number)
        begun = time.perf_counter()
        try:
            done = await work
        except BaseException as error:
            self._peak.end_of(number)
            self._flush()
            self._send("failed", number, reported(error, context))
        else:
            seconds, peak = time.perf_counter() - begun, self._peak.end_of(number)
            self._flush()
            self._send("done", number, replace(done, seconds=seconds, peak_memory_bytes=peak))
