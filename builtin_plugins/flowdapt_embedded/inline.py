"""Computes stages in the calling process: for scripts, notebooks, debuggers and tests."""

from __future__ import annotations

import asyncio
import functools
import itertools
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from contextvars import copy_context
from dataclasses import replace
from typing import Any
from uuid import UUID

from flowdapt_sets.paths import SETS
from flowdapt_workers import importing
from flowdapt_workers.functions import Arguments, Function, brief, failure

from flowdapt import payloads, stages
from flowdapt.context import WorkflowRunContext, set_run_context
from flowdapt.errors import NeverFits, RunCancelled, StageError
from flowdapt.executors import (
    FAILURES_KEPT,
    Call,
    Executor,
    Handle,
    Host,
    MapCall,
    Node,
    Outcome,
    Progress,
    Ref,
    StageFailed,
    check_count,
    elements_of,
    name_of,
)
from flowdapt.hooks import load
from flowdapt.resources import now, timestamp
from flowdapt.runs import FailedItem, Failure

AT_ONCE = 256  #: how many elements of an async mapped stage wait at once


def threads(*, cpus: int | str = "auto") -> InlineExecutor:
    """Make an executor that computes in threads of the server, one for each processor."""
    count = len(os.sched_getaffinity(0)) if cpus == "auto" else int(cpus)
    return InlineExecutor(threads=max(1, count))


class MapHandle(Handle):
    """A mapped call, and which elements its results are of."""

    def __init__(self, outcome: asyncio.Future[Outcome], places: Sequence[int]) -> None:
        super().__init__(outcome)
        self.places = places


class InlineExecutor(Executor):
    """Computes stages in this process, one after another, in the thread of the event loop.

    A breakpoint in a stage stops there. References are the values themselves, so one stage's
    result is the next one's argument without a copy.

    :param threads: compute in so many threads instead
    """

    kind = "local"

    def __init__(self, *, threads: int = 0) -> None:
        self.threads = threads
        self.host: Host | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._tasks: dict[UUID, set[asyncio.Task[Outcome]]] = {}
        self._code = ""
        self._computing = 0  # calls, all of that code
        self._rested = asyncio.Event()

    async def start(self, host: Host) -> None:
        """Get ready to take calls."""
        self.host = host
        if self.threads:
            self._pool = ThreadPoolExecutor(self.threads, "flowdapt-stage")

    async def stop(self) -> None:
        """Cancel what is computed and wait for its end."""
        tasks = [task for of_run in self._tasks.values() for task in of_run]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None

    def submit(self, call: Call) -> Handle:
        """Have a call computed as a task of the event loop."""
        cpus = call.resources.get("cpus", 0)
        if cpus > (os.cpu_count() or 1):
            raise NeverFits(call.stage, "cpus", cpus, os.cpu_count() or 1)
        places: list[int] = []
        task = asyncio.create_task(self._compute(call, places), name=f"{call.run}/{call.stage}")
        tasks = self._tasks.setdefault(call.run, set())
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        return MapHandle(task, places)

    async def fetch(self, ref: Ref) -> Any:
        """Return the value, which is the reference itself."""
        return ref

    async def lookup(self, targets: Sequence[str], *, code: str) -> Mapping[str, StageError]:
        """Import targets in this process."""
        async with self._at_work(code):
            return self._looked_up(targets)

    def _looked_up(self, targets: Sequence[str]) -> Mapping[str, StageError]:
        wrong: dict[str, StageError] = {}
        for target in targets:
            try:
                stages.resolve(target)
            except StageError as error:
                wrong[target] = error
        return wrong

    async def cancel(self, run: UUID) -> None:
        """Cancel what waits; a sync function that is being computed goes on to its end."""
        for task in list(self._tasks.get(run, ())):
            task.cancel()

    async def release(self, run: UUID) -> None:
        """Forget the run's tasks."""
        self._tasks.pop(run, None)

    async def nodes(self) -> Sequence[Node]:
        """Return this process."""
        total = {"cpus": float(os.cpu_count() or 1)}
        return [Node(f"process {os.getpid()}", True, total, total, self.threads or 1)]

    def describe(self) -> dict[str, Any]:
        """Return how stages are computed."""
        return {"processes": False, "cpus": self.threads or 1}

    @asynccontextmanager
    async def _at_work(self, code: str) -> AsyncIterator[None]:
        """Have a code imported while something of it is computed; other code waits for that."""
        while self._computing and self._is_another(code):
            self._rested.clear()
            await self._rested.wait()
        self._activate(code)
        self._computing += 1
        try:
            yield
        finally:
            self._computing -= 1
            if not self._computing:
                self._rested.set()

    def _is_another(self, code: str) -> bool:
        """Tell whether a code has to be imported instead of the one that was imported last."""
        return self.host is not None and bool(code) and code != self._code

    def _activate(self, code: str) -> None:
        """Import user modules from the source that is named, unless that is done already."""
        if self.host is None or not self._is_another(code):
            return
        taken = self.host.snapshots
        if (file := taken.file(code)) is not None:
            importing.activate_file(file, sets=self.host.app_dir / SETS)
        else:
            importing.activate(taken.paths, taken.sources())
        self._code = code

    async def _compute(self, call: Call, places: list[int]) -> Outcome:
        async with self._at_work(call.code):
            return await self._computed(call, places)

    async def _computed(self, call: Call, places: list[int]) -> Outcome:
        worker, context = f"process {os.getpid()}", call.context.at(call.stage)
        try:
            made = load(call.type)().function(call.target, call.options)
            function = Function(made, name_of(call))
            if isinstance(call, MapCall):
                outcome = await self._map(call, function, places)
            else:
                values = call.context.input if call.takes_input else None
                arguments = (
                    function.by_position(call.args)
                    if values is None
                    else function.by_keyword(values)
                )
                self._moved(call, worker=worker, began=_began(worker))
                outcome = Outcome(await self._call(function, arguments, context))
            if call.final:
                outcome = replace(outcome, json=payloads.to_json(outcome.ref))
            return replace(outcome, worker=worker, result_bytes=_size(outcome.ref))
        except StageError:
            raise
        except asyncio.CancelledError:
            raise RunCancelled() from None
        except Exception as error:
            raise StageFailed(failure(error, context), error) from error

    async def _map(self, call: MapCall, function: Function, places: list[int]) -> Outcome:
        numbered = await _numbered(call)
        values = call.context.input if call.takes_input else {}
        bind = function.by_element(call.args, values, call.map_on)
        results: list[Any] = []
        failures: list[Failure] = []
        failed: list[FailedItem] = []
        count = len(numbered)
        worker = f"process {os.getpid()}"
        self._moved(call, items=count, worker=worker, began=_began(worker))
        at_once = AT_ONCE if function.is_async else max(1, self.threads)
        rest = iter(numbered)
        while batch := list(itertools.islice(rest, at_once)):
            answers = await _gathered(
                *(self._element(call, function, bind, i, element) for i, element in batch),
                return_exceptions=call.allow_partial_failure,
            )
            for (place, _), answer in zip(batch, answers, strict=True):
                if isinstance(answer, StageFailed):
                    context = call.context.at(call.stage, place)
                    failed.append(brief(answer.exception or answer, context))
                    if len(failures) < FAILURES_KEPT:
                        failures.append(answer.failure)
                elif isinstance(answer, BaseException):
                    raise answer
                else:
                    results.append(answer)
                    places.append(place)
            done = len(results) + len(failed)
            self._moved(call, items=count, items_done=done, items_failed=len(failed))
        return Outcome(
            results,
            items=count,
            items_failed=len(failed),
            failures=tuple(failures),
            failed_items=tuple(failed),
        )

    async def _element(
        self,
        call: MapCall,
        function: Function,
        bind: Callable[[Any], Arguments],
        index: int,
        element: Any,
    ) -> Any:
        context = call.context.at(call.stage, index)
        try:
            return await self._call(function, bind(element), context)
        except Exception as error:
            raise StageFailed(failure(error, context), error) from error

    async def _call(
        self,
        function: Function,
        arguments: Arguments,
        context: WorkflowRunContext,
    ) -> Any:
        variables = copy_context()
        variables.run(set_run_context, context)
        if function.is_async:
            return await asyncio.create_task(function.enter_async(arguments), context=variables)
        if self._pool is None:
            return variables.run(function.enter, arguments)
        work = functools.partial(variables.run, function.enter, arguments)
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def _moved(self, call: Call, **facts: Any) -> None:
        if self.host is not None:
            self.host.on_progress(Progress(call.run, call.stage, **facts))


def _began(worker: str) -> dict[str, str]:
    return {"at": timestamp(now()), "worker": worker, "node": os.uname().nodename}


def _size(value: Any) -> int | None:
    """Return how many bytes a value has, where it is nothing but bytes, such as an array."""
    try:
        view = memoryview(value)
    except (TypeError, ValueError):  # ValueError of arrays whose elements have no form in C
        return None
    return None if view.format == "O" else view.nbytes  # those would be the bytes of pointers


async def _numbered(call: MapCall) -> Sequence[tuple[int, Any]]:
    """Return the elements to compute, each with its place."""
    over: Any = call.over
    places: Sequence[int] | None = None
    if isinstance(over, MapHandle):
        over, places = (await over.outcome).ref, over.places
    elif call.takes_input or call.map_on:
        over = elements_of(call)
    if not isinstance(over, Iterable):
        raise ValueError(f"stage {call.stage!r} maps over a result that is no list")
    elements = list(over)
    # If not as many, a stage beside this one changed the list meanwhile.
    if places is not None and len(places) == len(elements):
        wanted = {*(places if call.only is None else call.only.items)}
        return [pair for pair in zip(places, elements, strict=True) if pair[0] in wanted]
    check_count(call, len(elements))
    chosen = range(len(elements)) if call.only is None else call.only.items
    return [(place, elements[place]) for place in chosen]


async def _gathered(*work: Coroutine[Any, Any, Any], return_exceptions: bool) -> list[Any]:
    """Do what ``asyncio.gather`` does; but if one of them raises, the others are cancelled."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        return await asyncio.gather(*tasks, return_exceptions=return_exceptions)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        raise
