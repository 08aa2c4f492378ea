"""An executor: a place where stages are computed. This one has threads of the server.

To compute elsewhere, such as on machines of your own, change ``_called``: it is the only method
that calls a stage's function. The rest keeps the contract of :mod:`flowdapt.executors`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any
from uuid import UUID

from flowdapt.texts import to_json
from flowdapt.context import WorkflowRunContext, set_run_context
from flowdapt.errors import NeverFits, RunCancelled, StageError
from flowdapt.executors import Call, Executor, Handle, Host, MapCall, Node, Outcome, Progress, Ref, StageFailed
from flowdapt_workers.functions import name_of
from flowdapt.hooks import load
from flowdapt.stages import resolve
from flowdapt_sets.paths import SETS
from flowdapt_workers.functions import Arguments, Function, failure
from flowdapt_workers.importing import activate, activate_file

from .elements import MapHandle, Results, gathered, numbered

AT_ONCE = 256  #: how many elements of one call are begun at once


class ThreadExecutor(Executor):
    """Computes stages in threads. What a reference stands for is the result itself.

    :param threads: how many stages, or elements of them, are computed at once
    """

    kind = "threads"

    def __init__(self, *, threads: int = 4) -> None:
        self.threads = threads
        self._host: Host | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._tasks: dict[UUID, set[asyncio.Task[Outcome]]] = {}
        self._code = ""

    async def start(self, host: Host) -> None:
        """Get ready to take calls."""
        self._host = host
        self._pool = ThreadPoolExecutor(self.threads, "stage")

    async def stop(self) -> None:
        """Cancel what is computed; a function that is in a thread goes on to its end."""
        tasks = [task for of_run in self._tasks.values() for task in of_run]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None

    def submit(self, call: Call) -> Handle:
        """Have a call computed as a task of the event loop, which waits for the threads."""
        asked = call.resources.get("cpus", 0)
        if asked > self.threads:
            raise NeverFits(call.stage, "cpus", asked, self.threads)
        places: list[int] = []
        task = asyncio.create_task(self._compute(call, places), name=f"{call.run}/{call.stage}")
        tasks = self._tasks.setdefault(call.run, set())
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        return MapHandle(task, places)

    async def fetch(self, ref: Ref) -> Any:
        """Return the value behind a reference."""
        return ref

    async def lookup(self, targets: Sequence[str], *, code: str) -> Mapping[str, StageError]:
        """Import targets, and return what is wrong with those that cannot be used."""
        self._activate(code)
        wrong: dict[str, StageError] = {}
        for target in targets:
            try:
                resolve(target)
            except StageError as error:
                wrong[target] = error
        return wrong

    async def cancel(self, run: UUID) -> None:
        """Have nothing of a run start any more."""
        for task in list(self._tasks.get(run, ())):
            task.cancel()

    async def release(self, run: UUID) -> None:
        """Forget a run."""
        self._tasks.pop(run, None)

    async def nodes(self) -> Sequence[Node]:
        """Return this process, as the only machine."""
        total = {"cpus": float(self.threads)}
        return [Node("threads", alive=True, resources=total, free=total, workers=self.threads)]

    async def _compute(self, call: Call, places: list[int]) -> Outcome:
        context = call.context.at(call.stage)
        try:
            self._activate(call.code)
            target = load(call.type)().function(call.target, call.options)
            function = Function(target, name_of(call))
            if isinstance(call, MapCall):
                outcome = await self._mapped(call, function, places)
            else:
                self._tell(Progress(call.run, call.stage, worker="threads"))
                values = call.context.input if call.takes_input else None
                by_position = function.by_position(call.args) if values is None else None
                arguments = by_position or function.by_keyword(values or {})
                outcome = Outcome(await self._called(function, arguments, context))
            # The result of the last stage is the run's, which is stored and sent as JSON.
            return replace(outcome, json=to_json(outcome.ref) if call.final else None)
        except StageError:
            raise
        except asyncio.CancelledError:
            raise RunCancelled() from None
        except Exception as error:
            raise StageFailed(failure(error, context), error) from error

    async def _mapped(self, call: MapCall, function: Function, places: list[int]) -> Outcome:
        elements = await numbered(call)
        values = call.context.input if call.takes_input else {}
        bind = function.by_element(call.args, values, call.map_on)

        async def element(place: int, value: Any) -> Any:
            context = call.context.at(call.stage, place)
            try:
                return await self._called(function, bind(value), context)
            except Exception as error:
                raise StageFailed(failure(error, context), error) from error

        results, rest = Results(call), iter(elements)
        while batch := list(islice(rest, AT_ONCE)):
            work = [element(place, value) for place, value in batch]
            answers = await gathered(work, partial=call.allow_partial_failure)
            for (place, _), answer in zip(batch, answers, strict=True):
                results.take(place, answer, places)
            self._tell(results.progress(len(elements)))
        return results.outcome()

    async def _called(
        self, function: Function, arguments: Arguments, context: WorkflowRunContext
    ) -> Any:
        """Call a stage's function, which finds its run by ``flowdapt.get_run_context``."""
        variables = copy_context()
        variables.run(set_run_context, context)
        if function.is_async:
            return await asyncio.create_task(function.enter_async(arguments), context=variables)
        work = partial(variables.run, function.enter, arguments)
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def _activate(self, code: str) -> None:
        """Have user modules, and plugins of the cluster, imported as they were for the run.

        That is for the whole process, as everything is that is imported. An executor with processes
        of its own has each of them serve one ``code`` for life.
        """
        if self._host is None or not code or code == self._code:
            return
        taken = self._host.snapshots
        if (file := taken.file(code)) is not None:
            activate_file(file, sets=self._host.app_dir / SETS)
        else:
            activate(taken.paths, taken.sources())
        self._code = code

    def _tell(self, progress: Progress) -> None:
        if self._host is not None:
            self._host.on_progress(progress)
