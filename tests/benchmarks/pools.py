"""Own workers against pool libraries: why flowdapt brings its own.

``own protocol`` is processes behind our channel and nothing else; ``local executor`` is all that a
stage goes through. Libraries that are not installed are left out, and that is said:

    uv run --with loky --with pebble python -m tests.benchmarks --only pools
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import statistics
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import Executor as Pool
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import uuid4

from flowdapt_local.executor import LocalExecutor
from flowdapt_workers.wire import Channel, Pipe

from flowdapt.context import WorkflowRunContext
from flowdapt.executors import Call, Host, MapCall
from tests.benchmarks import stages
from tests.benchmarks.measuring import CORES, Figure

ITEMS = 10_000
CHUNK = 100
ROUND_TRIPS = 500
IN_FLIGHT = 4  #: messages that a worker of the own protocol has at once
NAP_SECONDS = 0.5


class Contender(ABC):
    """Something that calls functions in worker processes."""

    name: str

    @abstractmethod
    async def start(self) -> None:
        """Have the workers ready."""

    @abstractmethod
    async def stop(self) -> None:
        """End the workers."""

    @abstractmethod
    async def one(self) -> None:
        """Call a function that does nothing and wait for it."""

    @abstractmethod
    async def all(self, chunk: int) -> None:
        """Call it for each of the items, so many in a message."""

    async def nap(self, folder: str) -> None:
        """Have a worker note its number and then sleep.

        :raises LookupError: there is nothing to be learnt from killing such a worker
        """
        raise LookupError


class Protocol(Contender):
    """Two forked processes behind our channel, with a few messages in flight each."""

    name = "own protocol"

    async def start(self) -> None:
        self._replies: asyncio.Queue[int] = asyncio.Queue()
        self._channels = []
        self._pids = []
        for number in range(CORES):
            ours, theirs = socket.socketpair()
            pid = os.fork()
            if pid == 0:
                ours.close()
                _serve(Pipe(theirs))
            theirs.close()
            self._pids.append(pid)
            reply = partial(self._replied, number)
            self._channels.append(await Channel.over(ours, reply, lambda: None))

    def _replied(self, worker: int, message: Any) -> None:
        del message
        self._replies.put_nowait(worker)

    async def stop(self) -> None:
        for channel in self._channels:  # all first: a later fork holds ends of the earlier ones
            channel.close()
        for pid in self._pids:
            await asyncio.to_thread(os.waitpid, pid, 0)

    async def one(self) -> None:
        self._channels[0].send((1,))
        await self._replies.get()

    async def all(self, chunk: int) -> None:
        left = [list(range(first, first + chunk)) for first in range(0, ITEMS, chunk)]
        out = 0
        for channel in self._channels * IN_FLIGHT:
            channel.send(tuple(left.pop()))
            out += 1
        while out:
            worker = await self._replies.get()
            out -= 1
            if left:
                self._channels[worker].send(tuple(left.pop()))
                out += 1


def _serve(pipe: Pipe) -> None:
    while (elements := pipe.receive()) is not None:
        pipe.send(tuple(map(stages.each, elements)))
    os._exit(0)


class Local(Contender):
    """The local executor, as the engine uses it."""

    name = "local executor"

    async def start(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._executor = LocalExecutor(cpus=CORES)
        await self._executor.start(Host(app_dir=Path(self._folder.name)))
        self._run, self._context = uuid4(), WorkflowRunContext(input={"items": list(range(ITEMS))})
        while (await self._executor.nodes())[0].workers < CORES:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.01)

    async def stop(self) -> None:
        await self._executor.stop()
        self._folder.cleanup()

    async def one(self) -> None:
        await self._call("noop")

    async def all(self, chunk: int) -> None:
        call = MapCall(
            self._run,
            "all",
            self._context,
            "tests.benchmarks.stages.each",
            "flowdapt_workers.targets:Parameterized",
            map_on="items",
            takes_input=True,
            chunk_size=chunk,
        )
        await self._executor.submit(call).outcome

    async def nap(self, folder: str) -> None:
        await self._call(partial(_nap, folder))

    async def _call(self, function: str | Callable[..., Any]) -> None:
        named = isinstance(function, str)
        target = f"tests.benchmarks.stages.{function}" if named else function
        call = Call(self._run, "one", self._context, target, "flowdapt_workers.targets:Simple")
        await self._executor.submit(call).outcome


class Library(Contender):
    """A pool of the standard library, or one like it."""

    def __init__(self, name: str, make: Callable[[], Pool]) -> None:
        self.name, self._make = name, make

    async def start(self) -> None:
        self._pool = self._make()
        list(self._pool.map(stages.each, range(CHUNK)))

    async def stop(self) -> None:
        self._pool.shutdown()

    async def one(self) -> None:
        # Waited for as a program without an event loop would, which is the quicker way.
        self._pool.submit(stages.noop).result()

    async def all(self, chunk: int) -> None:
        list(self._pool.map(stages.each, range(ITEMS), chunksize=chunk))

    async def nap(self, folder: str) -> None:
        await asyncio.wrap_future(self._pool.submit(_nap, folder))


class Pebble(Contender):
    """pebble, whose interface is its own."""

    name = "pebble"

    async def start(self) -> None:
        self._pool = import_module("pebble").ProcessPool(max_workers=CORES)
        await self.all(CHUNK)

    async def stop(self) -> None:
        self._pool.stop()
        self._pool.join()

    async def one(self) -> None:
        self._pool.schedule(stages.noop).result()

    async def all(self, chunk: int) -> None:
        list(self._pool.map(stages.each, range(ITEMS), chunksize=chunk).result())

    async def nap(self, folder: str) -> None:
        await asyncio.wrap_future(self._pool.schedule(_nap, args=(folder,)))


def _nap(folder: str) -> None:
    """Note the worker that computes this, and take a while."""
    Path(folder, f"{time.time_ns()}-{os.getpid()}").touch()
    time.sleep(NAP_SECONDS)


def _contenders() -> list[Contender]:
    found: list[Contender] = [
        Protocol(),
        Local(),
        Library("concurrent.futures", lambda: ProcessPoolExecutor(CORES)),
    ]
    with suppress(ImportError):
        loky = import_module("loky")
        found.append(Library("loky", lambda: loky.ProcessPoolExecutor(CORES)))
    with suppress(ImportError):
        import_module("pebble")
        found.append(Pebble())
    return found


async def measure(repeat: int) -> list[Figure]:
    """Measure the contenders in turns, each with workers of its own that are warm."""
    contenders = _contenders()
    turns: dict[str, list[dict[str, float]]] = {one.name: [] for one in contenders}
    for _ in range(repeat):
        for one in contenders:
            turns[one.name].append(await _turn(one))
    facts: dict[str, dict[str, Any]] = {name: _medians(taken) for name, taken in turns.items()}
    for one in contenders:
        if one.name != Protocol.name:
            facts[one.name] |= await _killed(one)
    own = facts[Local.name]["round_trip_us"]
    figures = [
        Figure(f"pools, {name}", values["round_trip_us"] / own, facts=values)
        for name, values in facts.items()
    ]
    missing = [name for name in ("loky", "pebble") if name not in facts]
    said = f"{', '.join(missing) or 'nothing'} (not installed)"
    return [*figures, Figure("pools, left out", len(missing), unit="", facts={"": said})]


async def _turn(one: Contender) -> dict[str, float]:
    await one.start()
    try:
        trips = []
        for _ in range(ROUND_TRIPS):
            begun = time.perf_counter()
            await one.one()
            trips.append(time.perf_counter() - begun)
        rates = {chunk: await _rate(one, chunk) for chunk in (1, CHUNK)}
    finally:
        await one.stop()
    return {
        "round_trip_us": statistics.median(trips) * 1e6,
        "one_by_one_per_s": rates[1],
        f"chunks_of_{CHUNK}_per_s": rates[CHUNK],
    }


async def _rate(one: Contender, chunk: int) -> float:
    await one.all(chunk)
    begun = time.perf_counter()
    await one.all(chunk)
    return ITEMS / (time.perf_counter() - begun)


def _medians(turns: Sequence[dict[str, float]]) -> dict[str, Any]:
    return {key: statistics.median(turn[key] for turn in turns) for key in turns[0]}


async def _killed(one: Contender) -> dict[str, Any]:
    """Kill one of the workers while all are at work, and ask for one more call.

    :return: how many of the calls failed, and when a worker began with the next one
    """
    await one.start()
    try:
        with tempfile.TemporaryDirectory() as folder:
            naps = [asyncio.ensure_future(one.nap(folder)) for _ in range(CORES)]
            while len(noted := sorted(os.listdir(folder))) < CORES:  # noqa: ASYNC110 - processes
                await asyncio.sleep(0.005)
            begun = time.perf_counter()
            os.kill(int(noted[0].split("-")[1]), signal.SIGKILL)
            more = asyncio.ensure_future(one.nap(folder))
            while len(os.listdir(folder)) == CORES and not all(n.done() for n in (more, *naps)):  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            began = len(os.listdir(folder)) > CORES
            after = f"after {(time.perf_counter() - begun) * 1e3:.0f} ms" if began else "never"
            ended = await asyncio.gather(*naps, return_exceptions=True)
            await asyncio.gather(more, return_exceptions=True)
    finally:
        with suppress(Exception):  # a broken pool may not even stop
            await one.stop()
    failed = sum(isinstance(end, Exception) for end in ended)
    return {"killed_one_calls_failed": f"{failed} of {CORES}", "next_call_begins": after}
