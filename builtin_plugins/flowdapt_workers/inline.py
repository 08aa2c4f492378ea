"""Computes stages in the calling process: for scripts, notebooks, debuggers and tests."""

from __future__ import annotations

import asyncio
import functools
import os
from array import array
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import copy_context
from dataclasses import replace
from threading import Event
from typing import Any
from uuid import UUID

from flowdapt_sets.paths import SETS

from flowdapt.context import set_run_context
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
)
from flowdapt.hooks import load
from flowdapt.resources import now, timestamp
from flowdapt.texts import to_json
from flowdapt_workers import importing
from flowdapt_workers.attempts import Attempts, Trial
from flowdapt_workers.clocks import Clock
from flowdapt_workers.elements import Account, Element, MapHandle, Waiting, gathered, numbered
from flowdapt_workers.functions import (
    Arguments,
    Function,
    Tell,
    Told,
    brief,
    failure,
    name_of,
)
from flowdapt_workers.gates import Turns
from flowdapt_workers.limits import Limit
from flowdapt_workers.pool import Pool
from flowdapt_workers.server_asks import ServerAsks
from flowdapt_workers.targets import resolve

AT_ONCE = 256  #: how many elements of an async mapped stage wait at once


def threads(*, cpus: int | str = "auto") -> InlineExecutor:
    """Make an executor that computes in threads of the server, one for each processor."""
    count = len(os.sched_getaffinity(0)) if cpus == "auto" else int(cpus)
    return InlineExecutor(threads=max(1, count))


class InlineExecutor(Executor):
    """Computes stages in this process, one after another, in the thread of the event loop.

    A breakpoint in a stage stops there. References are the values themselves, so one stage's
    result is the next one's argument without a copy.

    No thread can be stopped from outside. What is computed in one learns from its context that its
    time is over; if it goes on, nobody waits for it, and in the thread of the event loop it has
    failed once it has ended.

    :param threads: compute in so many threads instead
    """

    kind = "local"

    def __init__(self, *, threads: int = 0) -> None:
        self.threads = threads
        self.host: Host | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pool: Pool | None = None
        self._tasks: dict[UUID, set[asyncio.Task[Outcome]]] = {}
        self._trials: dict[UUID, set[Trial]] = {}  # what is computed now
        self._code = ""
        self._computing = 0  # calls, all of that code
        self._rested = asyncio.Event()
        self._turns = Turns()

    async def start(self, host: Host) -> None:
        """Get ready to take calls."""
        self.host, self._loop = host, asyncio.get_running_loop()
        if self.threads:
            self._pool = Pool(self.threads)

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
        account = Account()
        task = asyncio.create_task(self._compute(call, account), name=f"{call.run}/{call.stage}")
        tasks = self._tasks.setdefault(call.run, set())
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        return MapHandle(task, account)

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
                resolve(target)
            except StageError as error:
                wrong[target] = error
        return wrong

    async def cancel(self, run: UUID, stage: str | None = None) -> None:
        """Cancel what waits; a sync function that is being computed is told, and goes on."""
        for trial in list(self._trials.get(run, ())):
            if stage in (None, trial.stage):
                trial.cancel()
        for task in list(self._tasks.get(run, ())):
            if stage is None or task.get_name() == f"{run}/{stage}":
                task.cancel()

    async def release(self, run: UUID) -> None:
        """Forget the run's tasks."""
        self._tasks.pop(run, None)
        self._trials.pop(run, None)

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

    async def _compute(self, call: Call, account: Account) -> Outcome:
        async with self._at_work(call.code):
            return await self._computed(call, account)

    async def _computed(self, call: Call, account: Account) -> Outcome:
        worker, context = f"process {os.getpid()}", call.context.at(call.stage)
        try:
            attempts = Attempts.of(call.options)
            made = load(call.type)().function(call.target, call.options)
            function = Function(made, name_of(call))
            if isinstance(call, MapCall):
                outcome = await self._map(call, function, attempts, account)
            else:
                values = call.context.input if call.takes_input else None
                arguments = (
                    function.by_position(call.args)
                    if values is None
                    else function.by_keyword(values)
                )
                self._moved(call, worker=worker, began=_began(worker))
                outcome = await self._whole(call, function, arguments, attempts, account=account)
            if call.final and outcome.json is None:
                outcome = replace(outcome, json=to_json(outcome.ref))
            cpu, size = account.cpu_seconds, _size(outcome.ref)
            return replace(outcome, worker=worker, cpu_seconds=cpu, result_bytes=size)
        except StageError:
            raise
        except asyncio.CancelledError:
            raise RunCancelled() from None
        except Exception as error:
            raise StageFailed(failure(error, context), error) from error

    async def _whole(
        self,
        call: Call,
        function: Function,
        arguments: Arguments,
        attempts: Attempts,
        *,
        account: Account,
    ) -> Outcome:
        """Call a function, as often as its stage may be tried."""
        attempt = 1
        while True:
            trial = Trial(call.context, attempt)
            told = Told(functools.partial(self._tell, call)) if call.final else None
            try:
                try:
                    result = await self._call(call, function, arguments, trial, tell=told)
                finally:
                    account.add(trial)
            except Exception as error:
                if not attempts.again(attempt, error):
                    raise
            else:
                json = told.text() if told is not None and told.count else None
                return Outcome(result, json=json, attempts=attempt)
            attempt += 1
            self._moved(call, attempts=attempt)
            await asyncio.sleep(attempts.pause(attempt))

    async def _map(
        self, call: MapCall, function: Function, attempts: Attempts, account: Account
    ) -> Outcome:
        values = call.context.input if call.takes_input else {}
        bind = function.by_element(call.args, values, call.map_on)
        waiting = Waiting(await numbered(call))
        account.items = count = len(waiting)
        most, worker = 1, f"process {os.getpid()}"
        self._moved(call, items=count, worker=worker, began=_began(worker))
        at_once = AT_ONCE if function.is_async else max(1, self.threads)
        while batch := await waiting.take(at_once):
            answers = await gathered(
                *(
                    self._element(call, function, bind, one, attempts, account=account)
                    for one in batch
                ),
                return_exceptions=call.allow_partial_failure,
            )
            for one, answer in zip(batch, answers, strict=True):
                if isinstance(answer, Element):
                    waiting.add(answer, attempts.pause(answer.attempt))
                    most = max(most, answer.attempt)
                elif isinstance(answer, StageFailed):
                    context = Trial(call.context, one.attempt).at(call.stage, one.place)
                    account.failed.append(brief(answer.exception or answer, context))
                    failures = [*account.failures, answer.failure]
                    failures.sort(key=lambda f: f.item or 0)
                    account.failures = failures[:FAILURES_KEPT]
                elif isinstance(answer, BaseException):
                    raise answer
                else:
                    account.results[one.place] = answer
            failed = len(account.failed)
            told = {"items_done": len(account.results) + failed, "items_failed": failed}
            self._moved(call, items=count, attempts=most, **told)
        facts = account.facts()
        del facts["items_done"]
        return Outcome(
            [account.results[place] for place in sorted(account.results)], attempts=most, **facts
        )

    async def _element(
        self,
        call: MapCall,
        function: Function,
        bind: Callable[[Any], Arguments],
        one: Element,
        attempts: Attempts,
        *,
        account: Account,
    ) -> Any:
        """Return what an element gives, or the same element where it is to be tried again."""
        trial = Trial(call.context, one.attempt)
        try:
            try:
                result = await self._call(call, function, bind(one.value), trial, item=one.place)
            finally:
                account.add(trial)
        except Exception as error:
            account.tally.note([one.place], _took(trial), attempts=one.attempt)
            if attempts.again(one.attempt, error):
                return replace(one, attempt=one.attempt + 1)
            context = trial.at(call.stage, one.place)
            raise StageFailed(failure(error, context), error) from error
        account.tally.note([one.place], _took(trial), attempts=one.attempt)
        return result

    async def _call(
        self,
        call: Call,
        function: Function,
        arguments: Arguments,
        trial: Trial,
        *,
        item: int | None = None,
        tell: Tell | None = None,
    ) -> Any:
        """Call a function once, as soon as the limits of its stage let it.

        :raises TimeoutError: that took longer than it may
        """
        async with self._turns.through(call):
            return await self._entered(call, function, arguments, trial, item=item, tell=tell)

    async def _entered(
        self,
        call: Call,
        function: Function,
        arguments: Arguments,
        trial: Trial,
        *,
        item: int | None,
        tell: Tell | None,
    ) -> Any:
        variables = copy_context()
        if self.host is not None:
            trial.asks = ServerAsks(self.host, call, trial.attempt, self._pool)
        variables.run(set_run_context, trial.at(call.stage, item))
        limit = Limit.of(Attempts.of(call.options), trial, call.stage, item)
        trials = self._trials.setdefault(call.run, set())
        trials.add(trial)
        clock = Clock()
        try:
            if function.is_async or (function.is_generator and tell and self._pool is None):
                entered = function.enter_async(arguments, tell)
                task = asyncio.create_task(entered, context=variables)
                return await (task if limit is None else limit.awaited(task))
            if self._pool is None:
                work = clock.started_by(
                    functools.partial(variables.run, function.enter, arguments, tell)
                )
                return work() if limit is None else limit.called(work)
            enter = functools.partial(variables.run, function.enter, arguments)
            return await self._in_thread(clock.started_by(enter), tell, limit, call.priority)
        except asyncio.CancelledError:
            trial.cancel()  # a thread goes on, and is to know
            raise
        finally:
            trial.seconds = clock.seconds if limit is None else min(clock.seconds, limit.seconds)
            trial.cpu_seconds = clock.cpu_seconds
            trials.discard(trial)

    def called(self, work: Callable[[], Any]) -> asyncio.Future[Any]:
        """Have a function called beside the event loop: the one method that another place needs."""
        return asyncio.get_running_loop().run_in_executor(self._pool, work)

    async def _in_thread(
        self, call: Callable[[Tell], Any], tell: Tell | None, limit: Limit | None, priority: int
    ) -> Any:
        """Call a function in another thread; a generator is closed once nobody waits for it.

        :param call: is given what takes the items of a generator
        """
        left = Event()

        def take(item: Any) -> None:
            if left.is_set():
                raise RunCancelled()
            if tell is not None:
                tell(item)

        def work() -> Any:
            if left.is_set():  # nobody waits for it any more
                raise RunCancelled()
            return call(take)

        try:
            if self._pool is not None:
                await self._pool.take(priority)
            if limit is not None:
                return await limit.elsewhere(self.called, work)
            return await self.called(work)
        finally:
            left.set()

    def _tell(self, call: Call, number: int, text: bytes) -> None:
        """Tell the host of an item, from whatever thread."""
        if self.host is not None and self._loop is not None:
            item = call.run, call.stage, number, text
            if self._pool is None:
                self.host.on_item(*item)
            else:
                self._loop.call_soon_threadsafe(self.host.on_item, *item)

    def _moved(self, call: Call, **facts: Any) -> None:
        if self.host is not None:
            self.host.on_progress(Progress(call.run, call.stage, **facts))


def _began(worker: str) -> dict[str, str]:
    return {"at": timestamp(now()), "worker": worker, "node": os.uname().nodename}


def _took(trial: Trial) -> bytes:
    return array("f", [trial.seconds]).tobytes()


def _size(value: Any) -> int | None:
    """Return how many bytes a value has, where it is nothing but bytes, such as an array."""
    try:
        view = memoryview(value)
    except (TypeError, ValueError):  # ValueError of arrays whose elements have no form in C
        return None
    return None if view.format == "O" else view.nbytes  # those would be the bytes of pointers
