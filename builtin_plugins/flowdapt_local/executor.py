"""Computes stages in worker processes of this machine.

Own workers and not a pool library, by measurement (``tests/benchmarks``, ``pools``): with
``concurrent.futures`` and loky, killing one worker fails every call in flight and the pool; pebble
survives it, but fails the call. Here nothing fails, a call costs no more than with those, chunks
follow the measured time, and our bare protocol is five times as quick as any of them.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any
from uuid import UUID

from flowdapt_sets.paths import SETS
from flowdapt_workers.calls import Facts
from flowdapt_workers.jobs import Job
from flowdapt_workers.processes import Kind
from flowdapt_workers.spool import Spool
from flowdapt_workers.submitting import SubmittingExecutor
from flowdapt_workers.uses import CPU_WATTS, GPU_WATTS, watts

from flowdapt.context import PLACES
from flowdapt.errors import StageError
from flowdapt.executors import (
    Call,
    Executor,
    Handle,
    Host,
    Node,
    Ref,
)
from flowdapt.objects import attached
from flowdapt.plugins import offered
from flowdapt_local.dispatch import Dispatch
from flowdapt_local.ledger import Ledger

SOME_GPU = (-1,)  #: of a kind, until it is settled which device


def local(*, use_processes: bool = True, **options: Any) -> Executor:
    """Make the default executor; ``use_processes: false`` means threads, as it always did."""
    options.pop("cluster_memory_socket_path", None)  # of earlier releases; there is no socket now
    if use_processes:
        return LocalExecutor(**options)
    threads: Executor = offered("executors", "threads")(**options)
    return threads


class LocalExecutor(SubmittingExecutor):
    """Worker processes, one for each processor, forked when they are needed and kept.

    :param cpus: how many calls with one processor each are computed at once
    :param gpus: devices to give out; by default those that the machine shows
    :param memory: bytes to give out; by default what the machine has
    :param resources: amounts of further resources, by label
    :param preload: modules that are imported once and shared by all workers
    :param cpu_watts: of a processor that computes, to estimate energy; ``gpu_watts`` of a GPU
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
        cpu_watts: float | str = CPU_WATTS,
        gpu_watts: float | str = GPU_WATTS,
    ) -> None:
        super().__init__()
        self.watts = watts(cpu_watts, gpu_watts)
        self._devices = _gpus() if gpus == "auto" else list(range(int(_number("gpus", gpus))))
        cpu, most = (
            float(_cpus(cpus)),
            (_memory() if memory == "auto" else _number("memory", memory)),
        )
        self._ledger = Ledger(
            {**(resources or {}), "cpus": cpu, "memory": most}, len(self._devices)
        )
        self._preload = preload
        self._dispatch: Dispatch | None = None
        self._codes: dict[str, str] = {}
        self._code = ""  # of the call that came last

    async def start(self, host: Host) -> None:
        """Start what forks workers; the first of them come up in the background."""
        self._host = host
        self._own_memory = None
        if host.places is not None and host.places.memory is not None:
            self._spool = Spool(attached(host.places.memory))
        else:
            self._own_memory = offered("memories", self.memory)(app_dir=host.app_dir)
            self._spool = Spool(self._own_memory)
        self._dispatch = Dispatch(
            host, self._ledger, self._preload, self._facts, self._spool, contexts=self.contexts
        )
        self._dispatch.later(self._warm_up(self._dispatch))

    async def _warm_up(self, dispatch: Dispatch) -> None:
        """Have workers ready before the first run asks for them."""
        kind = Kind(self._host.snapshots.take())
        await asyncio.gather(*(dispatch.fork(kind) for _ in range(int(self._ledger.total["cpus"]))))

    async def stop(self) -> None:
        """End all workers, whatever they compute."""
        if self._dispatch is not None:
            await self._dispatch.stop()
            self._dispatch = None
            if self._own_memory is not None:
                self._own_memory.close()

    @property
    def _at_work(self) -> Dispatch:
        if self._dispatch is None:
            raise StageError("the local executor is not started")
        return self._dispatch

    def _facts(self, kind: Kind) -> Facts:
        """Return what a new worker is told."""
        environment = {}
        if self._host.places is not None:
            environment[PLACES] = json.dumps(astuple(self._host.places))
        if self._devices:
            visible = [self._devices[gpu] for gpu in kind.gpus]
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, visible))
        file = self._host.snapshots.file(kind.code)
        return Facts(
            memory=self._spool.memory.address,
            snapshot=None if file is None else str(file),
            environment=environment,
            log_level=self._host.log_level,
            sets=self._host.app_dir / SETS,
        )

    # Calls -----------------------------------------------------------------------------------

    def wanted(self, call: Call) -> dict[str, float]:
        """Return what a call needs, if this machine has as much."""
        return self._ledger.wanted(call.stage, call.resources)

    def workers_for(self, call: Call, wanted: dict[str, float]) -> Kind:
        """Return which workers may compute a call."""
        return Kind(call.code, SOME_GPU if wanted.get("gpus") else ())

    def submit(self, call: Call) -> Handle:
        """Queue a call; it starts as soon as what it asks for is free."""
        handle = super().submit(call)
        self._codes[call.run.hex] = call.code
        if call.code != self._code:  # whoever imported what was there before has no more to do
            self._code = call.code
            self._retire()
        return handle

    def _retire(self) -> None:
        """End workers of code that no run has, and none will begin with."""
        wanted = {*self._host.snapshots.current, *self._codes.values()}
        self._at_work.crew.retire(wanted)

    def queue(self, job: Job, *, first: bool = False) -> None:
        """Have a job computed."""
        self._at_work.queue(job, first=first)

    def resume(self, job: Job) -> None:
        """Have a job go on."""
        self._at_work.resume(job)

    def moved(self, job: Job) -> None:
        """Tell how far a job is."""
        self._at_work.moved(job)

    async def fetch(self, ref: Ref) -> Any:
        """Return the value of a reference, unpickled in this process."""
        if ref.part is not None:
            return self._spool.load(ref.part)
        return [x for piece in ref.pieces for x in self._spool.load(piece.part)]

    async def lookup(self, targets: Sequence[str], *, code: str) -> Mapping[str, StageError]:
        """Import targets in a worker."""
        return await self._at_work.lookups.look(Kind(code), targets)

    async def cancel(self, run: UUID, stage: str | None = None) -> None:
        """Interrupt what is computed for a run, and kill the workers where that does not help."""
        self._at_work.cancel(run, stage)

    async def release(self, run: UUID) -> None:
        """Forget a run: its context, its results, and the workers that only it needed."""
        dispatch = self._at_work
        if self._codes.pop(run.hex, None) is None:  # nothing of it was ever submitted
            return
        dispatch.release(run.hex)
        self._retire()

    async def nodes(self) -> Sequence[Node]:
        """Return this machine."""
        free = {**self._ledger.free, "gpus": sum(self._ledger.free_gpus)}
        return [Node(os.uname().nodename, True, self._ledger.total, free, self._workers)]

    def describe(self) -> dict[str, Any]:
        """Return how many workers there are, and of what."""
        return {
            "processes": True,
            "cpus": int(self._ledger.total["cpus"]),
            "gpus": len(self._devices),
            "workers": self._workers,
        }

    @property
    def _workers(self) -> int:
        return len(self._dispatch.crew.all) if self._dispatch is not None else 0


# The machine -----------------------------------------------------------------------------------


def _cpus(cpus: float | str) -> int:
    if cpus == "auto":
        return len(os.sched_getaffinity(0))
    return max(1, int(_number("cpus", cpus)))


def _number(name: str, value: float | str) -> float:
    """Return an option as a number.

    :raises ValueError: naming the option and what would be right
    """
    try:
        return float(value)
    except ValueError:
        raise ValueError(f"{name} must be a number or 'auto', not {value!r}") from None


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _gpus() -> list[int]:
    """Return the devices that this process may use."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [int(part) for part in visible.split(",") if part.strip().isdigit()]
    return list(range(len(list(Path("/dev").glob("nvidia[0-9]*")))))
