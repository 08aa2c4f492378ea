"""How a call becomes a job: the part that executors of other processes have in common."""

from __future__ import annotations

import asyncio
import itertools
from abc import abstractmethod
from dataclasses import replace
from typing import Any

import cloudpickle

from flowdapt.executors import Call, Executor, Handle, MapCall, Outcome, Ref, StageFailed
from flowdapt.runs import Failure
from flowdapt_workers import payloads
from flowdapt_workers.attempts import Attempts
from flowdapt_workers.calls import Piece, Task
from flowdapt_workers.functions import check_count, elements_of, name_of
from flowdapt_workers.gates import Group, gate_of
from flowdapt_workers.jobs import Job, JobHandle, Single
from flowdapt_workers.mapped import MapHandle, Mapped
from flowdapt_workers.processes import Kind
from flowdapt_workers.stored import restored
from flowdapt_workers.uses import CPU_WATTS, GPU_WATTS

LEAST_CPUS = 0.001  #: what a call that asks for none counts as


class SubmittingExecutor(Executor):
    """Makes jobs of calls; a subclass has them computed."""

    chunk_seconds = 0.01  #: how much work a message of a mapped stage should hold
    async_chunk = 8  #: and how many elements of an async one, at most
    watts = CPU_WATTS, GPU_WATTS  #: of a processor and of a GPU that compute

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._groups: dict[str, Group] = {}
        #: pickled contexts by run
        self.contexts: dict[str, bytes] = {}

    @abstractmethod
    def wanted(self, call: Call) -> dict[str, float]:
        """Return what a call needs, with an amount of ``cpus``.

        :raises NeverFits: it asks for more than there will ever be
        """

    @abstractmethod
    def queue(self, job: Job, *, first: bool = False) -> None:
        """Have a job computed."""

    @abstractmethod
    def resume(self, job: Job) -> None:
        """Have a job go on, in which there is something to compute again."""

    @abstractmethod
    def moved(self, job: Job) -> None:
        """Tell how far a job is."""

    def workers_for(self, call: Call, wanted: dict[str, float]) -> Kind:
        """Return which processes may compute a call."""
        del wanted
        return Kind(call.code)

    def submit(self, call: Call) -> Handle:
        """Queue a call; it starts as soon as what it asks for is free."""
        run, wanted = call.run.hex, self.wanted(call)
        if run not in self.contexts:
            segments = payloads.dump(call.context, f"the input of run {call.run}")
            self.contexts[run] = payloads.pack(segments)
        kind = self.workers_for(call, wanted)
        task = Task(
            run=run,
            stage=call.stage,
            target=call.target if isinstance(call.target, str) else cloudpickle.dumps(call.target),
            name=name_of(call),
            type=call.type,
            options=call.options,
            args=call.args,
            takes_input=call.takes_input,
            final=call.final,
            mapped_on=call.mapped_on,
            durable=call.durable,
        )
        wrong = None
        try:
            Attempts.of(call.options)
        except ValueError as error:
            wrong, task = error, replace(task, options={})
        if not isinstance(call, MapCall):
            single = Single(call, task, kind, wanted)
            single.gate = gate_of(call, self._groups)
            single.goes_on = self.resume
            single.use.cpu_watts, single.use.gpu_watts = self.watts
            if wrong is None:
                self.queue(single)
            else:
                single.failed(_refused(call, wrong))
            return JobHandle(single)
        task = replace(task, map_on=call.map_on, allow_partial_failure=call.allow_partial_failure)
        job = Mapped(call, task, kind, wanted, number=next(self._numbers))
        job.chunk_seconds, job.async_chunk = self.chunk_seconds, self.async_chunk
        job.goes_on = self.resume
        job.use.cpu_watts, job.use.gpu_watts = self.watts
        try:
            if wrong is not None:
                raise wrong
            _feed(job)
        except ValueError as error:
            job.failed(_refused(call, error))
        job.gate = gate_of(call, self._groups)
        self.moved(job)
        self.queue(job)
        if call.final:
            return JobHandle(job, asyncio.ensure_future(self._put_together(job)))
        return MapHandle(job)

    def restore(self, stored: bytes) -> Ref:
        """Return a reference to a result of an earlier server."""
        try:
            return restored(stored)
        except Exception as error:  # a pickle may raise anything
            raise ValueError(f"a stored result cannot be understood: {error}") from error

    async def _put_together(self, job: Mapped) -> Outcome:
        """Have the results of the run's last stage, a mapped one, put together as JSON."""
        outcome = await job.outcome
        task = Task(
            run=job.task.run,
            stage=job.task.stage,
            target="builtins.list",
            name="list",
            type="flowdapt_workers.targets:Simple",
            options={},
            args=(outcome.ref,),
            final=True,
        )
        whole = Single(job.call, task, job.kind, {"cpus": LEAST_CPUS})
        whole.worker = job.worker  # no start that anybody is to hear of
        self.queue(whole, first=True)
        done = await whole.outcome
        return replace(
            outcome,
            ref=done.ref,
            json=done.json,
            stored=done.stored,
            result_bytes=done.result_bytes,
        )


def _refused(call: Call, error: ValueError) -> StageFailed:
    """Return the error of a call that cannot be computed as it is."""
    return StageFailed(Failure(type="ValueError", message=str(error), stage=call.stage), error)


def _feed(job: Mapped) -> None:
    """Give a mapped stage the elements that are there, or have them come.

    :raises ValueError: what it maps over is no list
    """
    over: Any = job.call.over
    if over is None:
        count = len(list(elements_of(job.call)))
        check_count(job.call, count)
        job.add(Piece(0, count), (0,))
    elif isinstance(over, MapHandle):
        for order, piece in over.job.ordered:
            job.add(piece, order)
        if not over.job.over:
            over.job.listeners.append(job)
            return
    elif over.pieces is None:
        raise ValueError(f"stage {job.call.stage!r} maps over a result that is no list")
    else:
        check_count(job.call, sum(piece.count for piece in over.pieces))
        for i, piece in enumerate(over.pieces):
            job.add(piece, (i,))
    job.close()
