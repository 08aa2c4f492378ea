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
import pickle
import signal
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from contextvars import Context, copy_context
from dataclasses import replace
from typing import Any

from flowdapt import payloads, snapshots, stages
from flowdapt.context import WorkflowRunContext, set_run_context
from flowdapt.errors import ResultNotPicklable, StageError
from flowdapt.executors import FAILURES_KEPT
from flowdapt.hooks import load
from flowdapt.objects import attached
from flowdapt.runs import FailedItem
from flowdapt_local import wire
from flowdapt_local.calls import Done, Facts, Failed, Piece, Task, Value
from flowdapt_local.diversion import Diversion
from flowdapt_local.failures import Interrupted, reported
from flowdapt_local.output import Output, end_lines
from flowdapt_local.spool import Part, Spool

PIECES = 128  #: a list that is mapped over is kept in about so many pieces


def serve(end: socket.socket, facts: Facts) -> None:
    """Work until the server is gone."""
    os.environ.update(facts.environment)
    if facts.snapshot is not None:
        snapshots.activate_file(facts.snapshot)
    worker = Worker(end, facts)
    signal.signal(signal.SIGINT, worker.interrupt)
    worker.output.install(facts.log_level)
    worker.loop()


class _Mapping:
    """A mapped stage as this worker knows it: what every element shares is loaded once."""

    def __init__(self, task: Task, function: stages.Function, worker: Worker) -> None:
        self.task, self.function, self._spool = task, function, worker.spool
        context = worker.contexts[task.run]
        values = context.input if task.takes_input else {}
        rest = [worker.value(arg) for arg in task.args]
        self.bind = function.by_element(rest, values, task.map_on)
        self.input: Sequence[Any] = ()
        if task.map_on is not None:
            given = context.input[task.map_on]
            self.input = given if isinstance(given, list) else list(given)
        self._piece: Piece | None = None
        self._elements: list[Any] = []

    def elements(self, piece: Piece, start: int, count: int) -> Sequence[Any]:
        """Return some elements of a piece, which is kept unpickled while it is in use."""
        if piece.part is None:
            return self.input[piece.first + start : piece.first + start + count]
        if (
            self._piece is None
            or self._piece.first != piece.first
            or self._piece.part != piece.part
        ):
            self._piece, self._elements = piece, self._spool.load(piece.part)
        return self._elements[start : start + count]


class Worker:
    """The state of a worker process."""

    def __init__(self, end: socket.socket, facts: Facts) -> None:
        self._pipe = wire.Pipe(end)
        self._pid = os.getpid()
        self._sending = threading.Lock()
        self.spool = Spool(attached(facts.memory))
        self.output = Output(self._send_log, self._mask)
        self.contexts: dict[str, WorkflowRunContext] = {}
        self._functions: dict[tuple[str, str | bytes], stages.Function] = {}
        self._mappings: dict[int, _Mapping | Failed] = {}
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
        """Take the secrets of a run out of a text; those of all runs where it may be any."""
        runs = self.contexts.copy() if run is None else {run}  # the main thread changes them
        for context in filter(None, map(self.contexts.get, runs)):
            text = context.mask(text)
        return text

    def _flush(self) -> None:
        """Send on all that was written so far, before the answer to a call."""
        end_lines()
        self.output.flush()
        if self._diversion is not None and os.getpid() == self._pid:  # no child of a stage
            self._diversion.flush()

    # Messages --------------------------------------------------------------------------------

    def _on_context(self, run: str, block: bytes) -> None:
        self.contexts[run] = context = payloads.load(block)
        if self._diversion is None and callable(vars(context)["config"]):  # it is sealed
            self._diversion = Diversion(lambda text: self._mask(None, text))

    def _on_forget(self, run: str) -> None:
        self.contexts.pop(run, None)

    def _on_unmap(self, number: int) -> None:
        self._mappings.pop(number, None)

    def _on_cancel(self, run: str) -> None:
        if self._async is not None:
            self._async.call_soon_threadsafe(self._cancel_tasks, run)

    def _cancel_tasks(self, run: str) -> None:
        for task in self._tasks.get(run, ()):
            task.cancel()

    def _on_lookup(self, number: int, targets: Sequence[str]) -> None:
        problems: dict[str, StageError] = {}
        for target in targets:
            try:
                stages.resolve(target)
            except StageError as error:
                error.__cause__ = error.__context__ = error.__traceback__ = None
                problems[target] = error
        self._send("found", number, problems)

    def _on_call(self, number: int, task: Task) -> None:
        self._attempt(number, task, lambda: self._call(number, task))

    def _on_map(self, number: int, task: Task) -> None:
        try:
            self.output.main = (task.run, task.stage, None)
            self._mappings[number] = _Mapping(task, self._function(task), self)
        except Exception as error:
            self._mappings[number] = reported(error, self.contexts[task.run].at(task.stage))

    def _on_chunk(self, number: int, mapping: int, piece: Piece, start: int, count: int) -> None:
        known = self._mappings[mapping]
        if isinstance(known, _Mapping):
            work = self._chunk(number, known, piece, start, count)
            self._attempt(number, known.task, work)
        else:
            self._send("failed", number, known)

    def _attempt(self, number: int, task: Task, work: Callable[[], Done | None]) -> None:
        """Do work in the main thread and answer, unless the answer comes later."""
        self.output.main = (task.run, task.stage, None)
        context = self.contexts[task.run].at(task.stage)
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
            if done is not None:
                seconds, cpu = time.perf_counter() - begun, time.thread_time() - cpu
                self._flush()
                self._send("done", number, replace(done, seconds=seconds, cpu_seconds=cpu))

    # Calls -----------------------------------------------------------------------------------

    def _function(self, task: Task) -> stages.Function:
        key = (task.type, task.target)
        if key not in self._functions or task.options:
            target = (
                task.target if isinstance(task.target, str) else pickle.loads(task.target)  # noqa: S301
            )
            made = load(task.type)().function(target, task.options)
            self._functions[key] = stages.Function(made, task.name)
        return self._functions[key]

    def value(self, value: Value) -> Any:
        """Return an argument, assembled where it is kept in pieces."""
        if value.part is not None:
            return self.spool.load(value.part)
        elements: list[Any] = []
        for piece in value.pieces or ():
            assert piece.part is not None  # noqa: S101 - only the run's input comes without
            elements += self.spool.load(piece.part)
        return elements

    def _call(self, number: int, task: Task) -> Done | None:
        function, context = self._function(task), self.contexts[task.run].at(task.stage)
        if task.takes_input:
            arguments = function.by_keyword(context.input)
        else:
            arguments = function.by_position([self.value(arg) for arg in task.args])
        if function.is_async:

            async def work() -> Done:
                return self._kept(task, await function.enter_async(arguments))

            self._defer(number, task, work(), context)
            return None
        variables = copy_context()
        variables.run(set_run_context, context)
        return self._kept(task, variables.run(function.enter, arguments))

    def _kept(self, task: Task, result: Any) -> Done:
        """Pickle a result, as later stages and the run want it."""
        what = f"what stage {task.stage!r} returned"
        json = self.spool.store_text(task.run, payloads.to_json(result)) if task.final else None
        if not task.mapped_on:
            return Done(Value(self._store(task.run, result, what)), json)
        if isinstance(result, list):
            return Done(Value(pieces=self._pieces(task.run, result, what)), json)
        whole = self._store(task.run, result, what)
        try:
            elements = list(result)
        except TypeError:
            return Done(Value(whole), json)  # the stage that maps over it says what is wrong
        return Done(Value(whole, self._pieces(task.run, elements, what)), json)

    def _pieces(self, run: str, elements: list[Any], what: str) -> list[Piece]:
        step = max(1, -(-len(elements) // PIECES))
        return [
            Piece(first, len(some), self._store(run, some, what))
            for first in range(0, len(elements), step)
            if (some := elements[first : first + step])
        ]

    def _store(self, run: str, value: Any, what: str) -> Part:
        return self.spool.store(run, payloads.dump(value, what), value)

    def _chunk(
        self, number: int, mapping: _Mapping, piece: Piece, start: int, count: int
    ) -> Callable[[], Done | None]:
        task, function = mapping.task, mapping.function
        context = self.contexts[task.run].at(task.stage)
        indexes = piece.indexes(start, count)

        def compute() -> Done:
            results: dict[int, Any] = {}
            failures, failed = [], list[FailedItem]()
            variables = copy_context()
            variables.run(set_run_context, context)
            elements = mapping.elements(piece, start, count)
            for index, element in zip(indexes, elements, strict=True):
                context.item = index  # one context for the chunk: elements come one by one
                self.output.main = (task.run, task.stage, index)
                try:
                    results[index] = variables.run(function.enter, mapping.bind(element))
                except Exception as error:
                    failed.append(stages.brief(error, context))
                    if len(failed) <= FAILURES_KEPT:
                        failures.append(reported(error, context))
                    if not task.allow_partial_failure:
                        break
            return self._chunk_kept(task, context, results, failures, failed=failed)

        def defer() -> None:
            elements = mapping.elements(piece, start, count)
            work = self._gather(mapping, context, dict(zip(indexes, elements, strict=True)))
            self._defer(number, task, work, context)

        return defer if function.is_async else compute

    def _chunk_kept(
        self,
        task: Task,
        context: WorkflowRunContext,
        results: dict[int, Any],
        failures: list[Failed],
        *,
        failed: list[FailedItem],
    ) -> Done:
        """Pickle results, which are given by the indexes of their elements."""
        if failed and not task.allow_partial_failure:
            return Done(Value(), failures=tuple(failures[:1]), failed_items=tuple(failed))
        what = f"what stage {task.stage!r} returned"
        try:
            part = self._store(task.run, [*results.values()], what)
        except ResultNotPicklable:
            kept = {}
            for index, result in results.items():  # find which, and keep the others
                try:
                    payloads.dump(result, what)
                    kept[index] = result
                except ResultNotPicklable as error:
                    at = context.at(task.stage, index)
                    failures.append(reported(error, at))
                    failed.append(stages.brief(error, at))
            return self._chunk_kept(task, context, kept, failures, failed=failed)
        return Done(
            Value(pieces=[Piece.of([*results], part)]),
            failures=tuple(failures),
            failed_items=tuple(failed),
        )

    async def _gather(
        self, mapping: _Mapping, context: WorkflowRunContext, elements: dict[int, Any]
    ) -> Done:
        """Compute the elements of an async chunk, all at once."""

        async def one(index: int, element: Any) -> Any:
            set_run_context(context.at(context.stage, index))
            self.output.belongs_to((mapping.task.run, context.stage, index))
            return await mapping.function.enter_async(mapping.bind(element))

        answers = await asyncio.gather(
            *(one(index, element) for index, element in elements.items()), return_exceptions=True
        )
        results: dict[int, Any] = {}
        failures, failed = [], list[FailedItem]()
        for index, answer in zip(elements, answers, strict=True):
            if isinstance(answer, Exception):
                at = context.at(context.stage, index)
                failed.append(stages.brief(answer, at))
                if len(failed) <= FAILURES_KEPT:
                    failures.append(reported(answer, at))
            elif isinstance(answer, BaseException):
                raise answer
            else:
                results[index] = answer
        return self._chunk_kept(mapping.task, context, results, failures, failed=failed)

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
        begun = time.perf_counter()
        try:
            done = await work
        except BaseException as error:
            self._flush()
            self._send("failed", number, reported(error, context))
        else:
            self._flush()
            self._send("done", number, replace(done, seconds=time.perf_counter() - begun))
