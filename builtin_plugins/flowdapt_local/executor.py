"""Computes stages in worker processes of this machine.

Own workers and not a pool library, by measurement (`tests/benchmarks/pools.py`): a call costs a
fifth of ``concurrent.futures`` and a tenth of loky; and with neither can one worker be killed
without failing what the others compute. pebble can, at five times the cost of a call.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import signal
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import cloudpickle
import orjson

from flowdapt import payloads
from flowdapt.errors import RunCancelled, StageError
from flowdapt.executors import (
    Call,
    Executor,
    Handle,
    Host,
    MapCall,
    Node,
    Progress,
    Ref,
    StageFailed,
    elements_of,
    name_of,
)
from flowdapt.inline import InlineExecutor
from flowdapt.runs import Failure
from flowdapt.storage import LogBlock
from flowdapt_local.calls import Done, Facts, Failed, Piece, Task, Value
from flowdapt_local.jobs import ASYNC_AT_ONCE, Job, MapHandle, Mapped, Single, Unit
from flowdapt_local.ledger import Ledger, Taken
from flowdapt_local.processes import Kind, Process, Zygote
from flowdapt_local.spool import Folders, Spool, content
from flowdapt_local.wire import Message

logger = logging.getLogger(__name__)

INTERRUPT_SECONDS = 0.5  #: how long an interrupted function may take before its worker is killed


def local(*, use_processes: bool = True, **options: Any) -> Executor:
    """Make the default executor; ``use_processes: false`` means threads, as it always did."""
    options.pop("cluster_memory_socket_path", None)  # of earlier releases; there is no socket now
    return LocalExecutor(**options) if use_processes else threads(**options)


def threads(*, cpus: int | str = "auto") -> Executor:
    """Make an executor that computes in threads of the server."""
    return InlineExecutor(threads=_cpus(cpus))


def _cpus(cpus: float | str) -> int:
    return len(os.sched_getaffinity(0)) if cpus == "auto" else max(1, int(cpus))


class LocalExecutor(Executor):
    """Worker processes, one for each processor, forked when they are needed and kept.

    :param cpus: how many calls with one processor each are computed at once
    :param gpus: devices to give out; by default those that the machine shows
    :param memory: bytes to give out; by default what the machine has
    :param resources: amounts of further resources, by label
    :param preload: modules that are imported once and shared by all workers
    """

    kind = "local"

    def __init__(
        self,
        *,
        cpus: int | str = "auto",
        gpus: int | str = "auto",
        memory: float | str = "auto",
        resources: Mapping[str, float] | None = None,
        preload: Sequence[str] = (),
    ) -> None:
        total = {
            **(resources or {}),
            "cpus": float(_cpus(cpus)),
            "memory": float(_memory() if memory == "auto" else memory),
        }
        devices = _gpus() if gpus == "auto" else list(range(int(gpus)))
        self._devices = devices
        self._ledger = Ledger(total, len(devices))
        self._zygote = Zygote(list(preload), self._received, self._printed, self._lost)
        self._numbers = itertools.count(1)
        self._jobs: deque[Job] = deque()
        self._idle: dict[Kind, list[Process]] = {}
        self._all: set[Process] = set()
        self._forking: Counter[Kind] = Counter()
        self._taken: dict[int, Taken] = {}
        self._contexts: dict[str, bytes] = {}
        self._codes: dict[str, str] = {}
        self._lookups: dict[int, asyncio.Future[Mapping[str, StageError]]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._running = False

    # Life ------------------------------------------------------------------------------------

    async def start(self, host: Host) -> None:
        """Start what forks workers; the first of them come up in the background."""
        self._host = host
        self._folders = Folders(host.app_dir)
        self._spool: Spool = self._folders.open()
        self._running = True
        self._later(self._warm_up())

    async def _warm_up(self) -> None:
        """Have workers ready before the first run asks for them."""
        kind = Kind(self._host.snapshots.take())
        await asyncio.gather(*(self._fork(kind) for _ in range(int(self._ledger.total["cpus"]))))

    async def stop(self) -> None:
        """End all workers, whatever they compute."""
        if not self._running:
            return
        self._running = False
        for job in list(self._jobs):
            job.failed(RunCancelled("the executor was stopped"))
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._zygote.stop()
        for process in list(self._all):
            self._close(process)
        self._folders.close()

    def _later(self, work: Any) -> None:
        """Have a coroutine done in the background; what it raises is logged."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished_later)

    def _finished_later(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and self._running:
            logger.error("the local executor failed at something", exc_info=error)

    # Calls -----------------------------------------------------------------------------------

    def submit(self, call: Call) -> Handle:
        """Queue a call; it starts as soon as what it asks for is free."""
        wanted = self._ledger.wanted(call.stage, call.resources)
        run = call.run.hex
        mapping = isinstance(call, MapCall)
        task = Task(
            run=run,
            stage=call.stage,
            target=call.target if isinstance(call.target, str) else cloudpickle.dumps(call.target),
            name=name_of(call),
            type=call.type,
            options=call.options,
            args=call.args,
            takes_input=call.takes_input,
            final=call.final and not mapping,
            mapped_on=call.mapped_on,
            mapped=mapping,
        )
        if run not in self._contexts:
            segments = payloads.dump(call.context, f"the input of run {call.run}")
            self._contexts[run] = payloads.pack(segments)
            self._codes[run] = call.code
        gpus = () if not wanted.get("gpus") else (-1,)  # which ones is settled when it starts
        kind = Kind(call.code, gpus)
        if isinstance(call, MapCall):
            return self._submit_map(call, task, kind, wanted)
        job = Single(call, task, kind, wanted)
        self._jobs.append(job)
        self._pump()
        return Handle(job.outcome)

    def _submit_map(
        self, call: MapCall, task: Task, kind: Kind, wanted: Mapping[str, float]
    ) -> Handle:
        task = replace(task, map_on=call.map_on, allow_partial_failure=call.allow_partial_failure)
        job = Mapped(call, task, kind, wanted)
        job.number = next(self._numbers)
        try:
            self._feed(job)
        except ValueError as error:
            failure = Failure(type="ValueError", message=str(error), stage=call.stage)
            job.failed(StageFailed(failure, error))
        self._jobs.append(job)
        self._moved(job)
        self._pump()
        if not call.final:
            return MapHandle(job.outcome, job)
        return Handle(asyncio.ensure_future(self._collected(job)))

    def _feed(self, job: Mapped) -> None:
        """Give a mapped stage the elements that are there, or have them come."""
        over: Any = job.call.over
        if over is None:
            elements = elements_of(job.call)
            job.add(
                Piece(0, len(elements) if hasattr(elements, "__len__") else len(list(elements))),
                (0,),
            )
        elif isinstance(over, MapHandle):
            upstream = over.job
            for order, piece in sorted(upstream.results.items()):
                job.add(piece, order)
            if not upstream.over:
                upstream.listeners.append(job)
                return
        elif over.pieces is None:
            raise ValueError(
                f"stage {job.call.stage!r} maps over a result that is no list and cannot be iterated"
            )
        else:
            for i, piece in enumerate(over.pieces):
                job.add(piece, (i,))
        job.close()

    async def _collected(self, job: Mapped) -> Any:
        """Have the results of the run's last stage, a mapped one, put together as JSON."""
        outcome = await job.outcome
        task = replace(
            job.task,
            target="builtins.list",
            name="list",
            type="flowdapt.stages:Simple",
            options={},
            args=(outcome.ref,),
            takes_input=False,
            final=True,
            mapped=False,
        )
        whole = Single(job.call, task, job.kind, {"cpus": 0.001})
        self._jobs.appendleft(whole)
        self._pump()
        done = await whole.outcome
        return replace(outcome, ref=done.ref, json=done.json, stored=done.stored)

    async def fetch(self, ref: Ref) -> Any:
        """Return the value of a reference, unpickled in this process."""
        if ref.part is not None:
            return payloads.load(content(ref.part))
        return [x for piece in ref.pieces for x in payloads.load(content(piece.part))]

    async def lookup(self, targets: Sequence[str], *, code: str) -> Mapping[str, StageError]:
        """Import targets in a worker."""
        kind = Kind(code)
        process = next(iter(self._idle.get(kind, ())), None) or await self._fork(kind)
        number = next(self._numbers)
        self._lookups[number] = asyncio.get_running_loop().create_future()
        process.send("lookup", number, list(targets))
        try:
            return await self._lookups[number]
        finally:
            self._lookups.pop(number, None)

    async def cancel(self, run: UUID) -> None:
        """Interrupt what is computed for a run, and kill the workers where that does not help."""
        for job in [job for job in self._jobs if job.call.run == run]:
            job.failed(RunCancelled())
        self._jobs = deque(job for job in self._jobs if job.call.run != run)
        at_it = []
        for process in list(self._all):
            units = [u for u in process.units.values() if u.job.call.run == run]
            for unit in units:
                unit.job.failed(RunCancelled())
            if any(unit.deferred for unit in units):
                process.send("cancel", run.hex)
            if any(not unit.deferred for unit in units):
                process.stopping = True
                process.signal(signal.SIGINT)
                at_it.append(process)
        if at_it:
            self._later(self._kill_unless_idle(at_it))

    async def _kill_unless_idle(self, processes: Sequence[Process]) -> None:
        await asyncio.sleep(INTERRUPT_SECONDS)
        for process in processes:
            if any(not unit.deferred for unit in process.units.values()):
                process.signal(signal.SIGKILL)

    async def release(self, run: UUID) -> None:
        """Forget a run: its context, its results, and the workers that only it needed."""
        self._contexts.pop(run.hex, None)
        code = self._codes.pop(run.hex, None)
        for process in self._all:
            if run.hex in process.contexts:
                process.contexts.discard(run.hex)
                process.send("forget", run.hex)
        if code is not None and code != self._host.snapshots.newest:
            self._retire(code)
        if self._spool.has(run.hex):
            self._later(asyncio.to_thread(self._spool.forget, run.hex))

    def _retire(self, code: str) -> None:
        """Let workers go that import from source that has changed since."""
        if code not in self._codes.values():
            for kind in [kind for kind in self._idle if kind.code == code]:
                for process in self._idle.pop(kind):
                    if not process.units:
                        self._close(process)

    async def nodes(self) -> Sequence[Node]:
        """Return this machine."""
        free = {**self._ledger.free, "gpus": sum(self._ledger.free_gpus)}
        return [Node(os.uname().nodename, True, self._ledger.total, free, len(self._all))]

    def describe(self) -> dict[str, Any]:
        """Return how many workers there are, and of what."""
        return {
            "processes": True,
            "cpus": int(self._ledger.total["cpus"]),
            "gpus": len(self._devices),
            "workers": len(self._all),
        }

    # Giving out ------------------------------------------------------------------------------

    def _pump(self) -> None:
        """Give units to workers, one job after the other, while anything fits."""
        for _ in range(len(self._jobs)):
            if self._ledger.exhausted:
                return
            if not self._jobs:
                return
            job = self._jobs.popleft()
            while not job.over and job.waiting() and self._give(job):
                if len(self._jobs) and isinstance(job, Mapped) and not job.is_async:
                    break  # others wait too: take turns
            if not job.over and (job.waiting() or isinstance(job, Mapped)):
                self._jobs.append(job)

    def _give(self, job: Job) -> bool:
        """Give one unit to a worker; tell whether there was room and a worker for it."""
        if job.is_async and (process := self._async_worker(job.kind)) is not None:
            self._send(process, job.next(len(self._all)), None)
            return True
        taken = self._ledger.take(job.wanted)
        if taken is None:
            return False
        kind = replace(job.kind, gpus=taken.gpus)
        idle = self._idle.get(kind)
        if not idle:
            self._ledger.give(taken)
            self._fork_for(kind)
            return False
        process = idle.pop()
        self._send(process, job.next(int(self._ledger.total["cpus"])), taken)
        return True

    def _async_worker(self, kind: Kind) -> Process | None:
        """Return the worker of that kind in which the fewest async calls wait."""
        idle = [p for p in self._idle.get(kind, ()) if p.deferred < ASYNC_AT_ONCE]
        return min(idle, key=lambda p: p.deferred, default=None)

    def _send(self, process: Process, unit: Unit, taken: Taken | None) -> None:
        job, number = unit.job, next(self._numbers)
        run = job.task.run
        if run not in process.contexts:
            process.send("context", run, self._contexts[run])
            process.contexts.add(run)
        process.units[number] = unit
        if taken is not None:
            self._taken[number] = taken
        if unit.piece is None:
            process.send("call", number, job.task)
        else:
            assert isinstance(job, Mapped)  # noqa: S101 - only they have pieces
            if job.number not in process.mappings:
                process.send("map", job.number, job.task)
                process.mappings.add(job.number)
                job.outcome.add_done_callback(lambda _: self._unmap(process, job.number))
            process.send("chunk", number, job.number, unit.piece, unit.start, unit.count)
        if job.worker is None:
            job.worker = f"process {process.pid}"
            self._moved(job)

    def _unmap(self, process: Process, number: int) -> None:
        process.mappings.discard(number)
        process.send("unmap", number)

    def _fork_for(self, kind: Kind) -> None:
        """Have a worker of that kind made, unless enough of them are being made."""
        if self._forking[kind] < int(self._ledger.total["cpus"]):
            self._later(self._fork(kind))

    async def _fork(self, kind: Kind) -> Process:
        self._forking[kind] += 1
        environment = {}
        if self._devices:
            visible = [self._devices[gpu] for gpu in kind.gpus]
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, visible))
        file = self._host.snapshots.file(kind.code)
        facts = Facts(
            self._spool.folders,
            None if file is None else str(file),
            environment,
            self._host.log_level,
        )
        try:
            process = await self._zygote.fork(kind, facts)
        finally:
            self._forking[kind] -= 1
        self._all.add(process)
        self._became_idle(process)
        return process

    def _became_idle(self, process: Process) -> None:
        if process.stopping:
            self._close(process)
            return
        self._idle.setdefault(process.kind, []).append(process)
        self._pump()

    # Answers ---------------------------------------------------------------------------------

    def _received(self, process: Process, message: Message) -> None:
        kind, *rest = message
        if kind == "log":
            run, stage, lines, count = rest
            self._host.on_log(UUID(run), LogBlock(stage, lines, count))
        elif kind == "found":
            future = self._lookups.get(rest[0])
            if future is not None and not future.done():
                future.set_result(rest[1])
        elif kind == "deferred":
            unit = process.units[rest[0]]
            unit.deferred = unit.job.is_async = True
            process.deferred += 1
            self._freed(process, rest[0])
        else:
            self._drain(process)
            self._answered(process, rest[0], rest[1])

    def _answered(self, process: Process, number: int, answer: Done | Failed) -> None:
        unit = process.units.pop(number)
        job = unit.job
        if not isinstance(answer, Done):
            job.failed(_raised(answer))
        elif answer.items_failed and not job.task.allow_partial_failure:
            job.failed(_raised(answer.failures[0]))
        elif not job.over:
            job.done(unit, answer)
            if isinstance(job, Mapped):
                self._moved(job)
        if unit.deferred:
            process.deferred -= 1
            self._pump()
        else:
            self._freed(process, number)

    def _freed(self, process: Process, number: int) -> None:
        taken = self._taken.pop(number, None)
        if taken is not None:
            self._ledger.give(taken)
            self._became_idle(process)
        else:
            self._pump()

    def _lost(self, process: Process) -> None:
        """Notice that a worker's socket closed."""
        self._all.discard(process)
        idle = self._idle.get(process.kind, [])
        if process in idle:
            idle.remove(process)
        if self._running:
            self._later(self._bury(process))

    async def _bury(self, process: Process) -> None:
        """Free what a dead worker held, and have its units tried again where that is due."""
        self._drain(process)
        cause = await process.cause() if process.units else ""
        self._close(process)
        units, process.units = process.units, {}
        for position, (number, unit) in enumerate(units.items()):
            if (taken := self._taken.pop(number, None)) is not None:
                self._ledger.give(taken)
            job = unit.job
            if job.over:
                continue
            logger.warning("stage %r lost a worker: %s", job.call.stage, cause)
            del position
            job.lost(unit, cause)
            self._moved(job)
            if job not in self._jobs and not job.over:
                self._jobs.append(job)
        self._pump()

    def _close(self, process: Process) -> None:
        """End a worker that computes nothing; it exits when its socket closes."""
        self._all.discard(process)
        if process.channel is not None:
            process.channel.close()
        if process.output is not None:
            process.output.close()

    # Telling ---------------------------------------------------------------------------------

    def _moved(self, job: Job) -> None:
        if isinstance(job, Mapped):
            counts = job.counts
            progress = Progress(
                job.call.run,
                job.call.stage,
                job.worker,
                counts.known,
                counts.done,
                counts.failed,
                job.attempts,
            )
        else:
            progress = Progress(job.call.run, job.call.stage, job.worker, attempts=job.attempts)
        self._host.on_progress(progress)

    def _drain(self, process: Process) -> None:
        """Read what a worker wrote past Python, before its call counts as done."""
        with contextlib.suppress(OSError):
            while data := os.read(process.output_end, 1 << 16):
                self._printed(process, data)

    def _printed(self, process: Process, data: bytes) -> None:
        """Add what a library or a child process wrote to the log of the stage that is computed."""
        unit = next((u for u in process.units.values() if not u.deferred), None)
        if unit is None:
            return
        time = datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")
        lines = [
            orjson.dumps(
                {"time": time, "stream": "output", "message": line.decode(errors="replace")},
                option=orjson.OPT_APPEND_NEWLINE,
            )
            for line in data.splitlines()
        ]
        block = LogBlock(unit.job.call.stage, b"".join(lines), len(lines))
        self._host.on_log(unit.job.call.run, block)


def _raised(failed: Failed) -> StageError:
    failure, pickled = failed
    if failure["type"] == "RunCancelled":
        return RunCancelled()
    return StageFailed(Failure.model_validate(failure), pickled=pickled)


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _gpus() -> list[int]:
    """Return the devices that this process may use."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [int(part) for part in visible.split(",") if part.strip().isdigit()]
    return [i for i in range(len(list(Path("/dev").glob("nvidia[0-9]*"))))]
