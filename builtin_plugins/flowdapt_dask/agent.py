"""What flowdapt has in a Dask worker: it keeps processes there and has them compute orders.

Stages do not run in the Dask worker itself. Its threads cannot be stopped, and it would have to
hold the source of several runs at once. So a task only waits here for a process that computes.
"""

from __future__ import annotations

import asyncio
import logging
import pickle
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any

from distributed import WorkerPlugin
from distributed.core import Status
from distributed.worker_state_machine import SecedeEvent, UnpauseEvent
from flowdapt_sets import paths, preparing
from flowdapt_sets.errors import SetUnusable
from flowdapt_sets.sets import PluginSet
from flowdapt_workers.asking import Asked
from flowdapt_workers.calls import Done, Facts, Failed, Order
from flowdapt_workers.clusters import Surroundings
from flowdapt_workers.lacking import located
from flowdapt_workers.processes import Kind
from flowdapt_workers.sockets import MemorySocket, socket_path
from flowdapt_workers.spool import Spool

from flowdapt.errors import MemoryFull
from flowdapt.objects import Memory
from flowdapt.plugins import offered
from flowdapt.runs import Failure
from flowdapt_dask.amounts import CPUS, declared, restrictions
from flowdapt_dask.asking import Asking
from flowdapt_dask.blocks import Block
from flowdapt_dask.children import ChildLost, Children, Work
from flowdapt_dask.devices import Devices, visible
from flowdapt_dask.handing import as_held, as_known, held_in
from flowdapt_dask.holdings import Holdings
from flowdapt_dask.items import Items
from flowdapt_dask.memory import SOCKET
from flowdapt_dask.sharing import WorkerMemory

logger = logging.getLogger(__name__)

IDLE_SECONDS = 300.0  #: without anything to do or to hold, after which an agent ends
SWEEP_SECONDS = 10.0  #: how often it is looked for what is of no use any more
CODE_SECONDS = 30.0  #: how long processes of other source are kept
SHORT_SECONDS = 0.02  #: nothing is told of what takes no longer
NEEDED = 64  #: contexts and snapshots that are kept


class Agent(WorkerPlugin):
    """Computes the orders of one server on one Dask worker.

    :param worker: the Dask worker
    :param about: the server
    """

    def __init__(self, worker: Any, about: Surroundings) -> None:
        self.worker, self.about, self.name = worker, about, name_of(about.server)
        self._topic = self.name
        self._folder: Path
        gpus = declared(worker.state.total_resources, 1, 0.0)["gpus"]
        self._devices = Devices(visible()[: int(gpus)])
        self._children = Children(self._facts, self._log)
        self._memory: Memory
        self._holdings: Holdings
        self._objects: MemorySocket | None = None
        self._starting = asyncio.Lock()
        self._started = False
        self._orders: dict[str, asyncio.Task[Block | None]] = {}
        self._asking: dict[int, Asking] = {}
        self._things: OrderedDict[str, bytes] = OrderedDict()  # that orders have in common
        self._awaited: dict[str, asyncio.Future[bytes]] = {}
        self._codes: dict[str, float] = {}  # when one was last asked for
        self._loop = asyncio.get_running_loop()
        self._busy = self._loop.time()
        self._sweeping = asyncio.create_task(self._sweep())

    # Starting and ending ---------------------------------------------------------------------

    async def start(self) -> None:
        """Make the memory and what forks processes, unless they are there."""
        async with self._starting:
            if self._started:
                return
            self._memory = await asyncio.to_thread(self._made_memory)
            self._holdings = Holdings(Spool(self._memory))
            if self.about.socket is not None:
                path = socket_path(self._folder / "objects.sock")
                self._objects = MemorySocket(WorkerMemory(self.worker, self.name), path)
            await self._children.warm_up()
            self._started = True

    def _made_memory(self) -> Memory:
        """Make the memory; in a thread, as it takes a while to look for who offers one."""
        self._folder = Path(mkdtemp(dir=self.worker.local_directory, prefix=self.name))
        memory: Memory = offered("memories", "shm")(app_dir=self._folder)
        return memory

    def _facts(self, kind: Kind) -> Facts:
        """Return what a new process is told."""
        environment = dict(self.about.environment)
        if self._objects is not None:
            environment[SOCKET] = str(self._objects.path)
        if self._devices.names:
            names = [self._devices.names[gpu] for gpu in kind.gpus]
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(names)
        return Facts(
            memory=self._memory.address,
            snapshot=str(self._folder / kind.code) if kind.code else None,
            environment=environment,
            log_level=self.about.log_level,
        )

    async def teardown(self, worker: Any) -> None:
        """Called by Dask, when the worker ends or the agent is to."""
        del worker
        self._sweeping.cancel()
        for order in self._orders.values():
            order.cancel()
        if self._started:
            await self._children.stop()
            if self._objects is not None:
                self._objects.close()
            await asyncio.to_thread(self._memory.close)
            await asyncio.to_thread(rmtree, self._folder, ignore_errors=True)

    async def _sweep(self) -> None:
        """Let go of what is of no use any more, in the end of the agent itself."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            now = self._loop.time()
            if self._orders or (self._started and self._holdings):
                self._busy = now
            if now - self._busy > IDLE_SECONDS:
                asyncio.ensure_future(self.worker.plugin_remove(name=self.name))  # noqa: RUF006 - which cancels this
                return
            newest = max(self._codes, key=lambda code: self._codes[code], default="")
            old = {c for c, used in self._codes.items() if now - used > CODE_SECONDS} - {newest}
            for code in old:
                del self._codes[code]
                (self._folder / code).unlink(missing_ok=True)
            self._children.sweep({"", *self._codes}, self.worker.state.nthreads)

    # Telling and asking ----------------------------------------------------------------------

    def tell(self, *message: Any) -> None:
        """Send the server's gateway a message; before a task ends, if it was sent before that."""
        self.worker.log_event(self._topic, pickle.dumps(message, 5))

    def _log(self, run: str, stage: str, lines: bytes, count: int) -> None:
        self.tell("log", run, stage, lines, count)

    async def _needed(self, kind: str, name: str) -> bytes:
        """Return something that many orders need, and only the first of them wait for."""
        key = f"{kind}-{name}"
        if key in self._things:
            self._things.move_to_end(key)
            return self._things[key]
        future = self._awaited.setdefault(key, self._loop.create_future())
        # Each asks, because the order for which it was asked before may be cancelled by now.
        self.tell("needs", kind, name, self.worker.address)
        return await asyncio.shield(future)

    def give(self, kind: str, name: str, thing: bytes) -> None:
        """Take what was asked for."""
        key = f"{kind}-{name}"
        self._things[key] = thing
        if (future := self._awaited.pop(key, None)) is not None and not future.done():
            future.set_result(thing)
        while len(self._things) > NEEDED:
            self._things.popitem(last=False)

    # Orders ----------------------------------------------------------------------------------

    async def compute(
        self, key: str, order: Order, context: bytes | None, blocks: Sequence[Block | None]
    ) -> Block | None:
        """Compute an order; tell the answer, and return what is large in it."""
        work = asyncio.create_task(self._computed(key, order, context, blocks))
        self._orders[key] = work
        try:
            await asyncio.wait([work])
            if work.cancelled():
                self.tell("lost", order.number, "it was stopped")
                return None
            if (error := work.exception()) is not None:
                if not isinstance(error, ChildLost):
                    logger.error("an order of stage %r failed", order.task.stage, exc_info=error)
                self.tell("lost", order.number, str(error) or repr(error))
                return None
            return work.result()
        finally:
            del self._orders[key]
            self._busy = self._loop.time()
            # Dask notes for ever which thread a task had, once we are out of here.
            self._loop.call_later(1.0, self.worker.threads.pop, key, None)

    def transition(self, key: Any, start: Any, finish: Any, **_: Any) -> None:
        """Called by Dask; what is being computed and not wanted any more is stopped."""
        if finish == "released" and start in ("executing", "long-running") and key in self._orders:
            self._orders[key].cancel()

    async def _computed(
        self, key: str, order: Order, context: bytes | None, blocks: Sequence[Block | None]
    ) -> Block | None:
        taken = {n: block for n, block in zip(order.needs, blocks, strict=True) if block}
        if gone := [number for number in order.needs if number not in taken]:
            self.tell("gone", order.number, gone)
            return None
        await self.start()
        run = order.task.run
        with self._holdings.order(run):
            try:
                work = await self._work(order, context, taken)
                answer = await self._watched(key, order, work)
            except (MemoryFull, SetUnusable) as error:
                self._answer(order, failure_of(error, order.task.stage))
                return None
            block = None
            if not isinstance(answer, Done):
                self._holdings.wrote(run)
            else:
                answer, payloads = as_held(answer, order.block)
                if payloads:
                    block = Block.made(payloads, run, self._holdings, [*taken.values()])
            self._answer(order, answer, has_block=block is not None)
            return block

    async def _work(self, order: Order, context: bytes | None, blocks: Mapping[int, Block]) -> Work:
        """Return what a process is to compute, once everything that it takes is here."""
        run = order.task.run
        for number, block in blocks.items():
            places = [held.place for held in held_in(order) if held.block == number]
            if block.unsettled(places):
                await asyncio.to_thread(block.settle, places, run, self._holdings)
        task, piece = as_known(order, lambda held: blocks[held.block].part(held.place))
        if context is None:
            context = await self._needed("context", run)

        counted = order.attempt, order.failed
        return Work(task, context, order.mapping, piece, order.start, order.count, *counted)

    async def _watched(self, key: str, order: Order, work: Work) -> Done | Failed:
        """Have processes compute an order, and tell how far it is if that takes a while."""

        def goes_on() -> None:
            self._let_go(key)
            self.tell("started", order.number, self.worker.address, self._named(work))

        deferred = False

        def defers() -> None:
            nonlocal deferred
            if deferred:  # in a process before
                return
            deferred = True
            self._let_go(key)
            self._give_cpus(order)
            self.tell("deferred", order.number)

        work.defers = defers
        work.enters = lambda: self.tell("entered", order.number)
        asking = Asking(work, partial(self._waits, key, order))

        def asks(question: int, asked: Asked | None) -> None:
            self.tell("ask", order.number, self.worker.address, question, asked)
            asking.note(question, asked)

        work.asks = asks
        self._asking[order.number] = asking
        items = Items(partial(self.tell, "items", order.number))
        work.tells = items.take
        kind = await self._kind(order)
        later = self._loop.call_later(SHORT_SECONDS, goes_on)
        try:
            async with self._devices.taken(order.wanted.get("gpus", 0.0)) as gpus:
                answer = await self._children.compute(replace(kind, gpus=gpus), work)
        finally:
            items.flush()
            later.cancel()
            del self._asking[order.number]
            asking.end()
            if deferred:
                self._give_cpus(order, -1)
        answer = located(answer, node_name(self.worker))
        if isinstance(answer, Done):
            return replace(answer, worker=self._named(work), is_async=work.deferred)
        return answer._replace(worker=self._named(work))

    def _named(self, work: Work) -> str:
        return f"process {work.pid} on {node_name(self.worker)}"

    def _let_go(self, key: str) -> None:
        """Let go of the thread that a task has, though it only waits.

        How many are computed at once is a matter of the resources that they take.
        """
        unknown: Any = None  # as Dask learns how long tasks take when they end
        stimulus = f"secede-{time.time()}"
        self.worker.handle_stimulus(
            SecedeEvent(key=key, compute_duration=unknown, stimulus_id=stimulus)
        )

    def _give_cpus(self, order: Order, sign: int = 1) -> None:
        """Let other tasks have the processors of one that only waits from now on."""
        taken = restrictions(self.about.version, order.wanted).get(CPUS, 0)
        self.worker.state.available_resources[CPUS] += sign * taken
        if sign > 0 and self.worker.status is Status.running:  # look what can be computed now
            self.worker.handle_stimulus(UnpauseEvent(stimulus_id=f"deferred-{time.time()}"))

    def _waits(self, key: str, order: Order, idle: bool) -> None:
        """Let others have the processors of an order that waits for them; take them back after."""
        if idle:
            self._let_go(key)
        self._give_cpus(order, 1 if idle else -1)
        self.tell("idle", order.number, idle)

    def answer(self, number: int, question: int, text: bytes) -> None:
        """Answer what the code of an order asked."""
        if (asking := self._asking.get(number)) is not None:
            self._children.answer(asking.work, question, text)
            asking.note(question, None)

    async def _kind(self, order: Order) -> Kind:
        """Return which processes may compute an order, once its source is here."""
        if order.code and order.code not in self._codes:
            source = await self._needed("code", order.code)
            part = self._folder / f".{order.code}"
            part.write_bytes(source)
            await self._prepare(pickle.loads(source)[2])  # noqa: S301 - from our own server
            part.replace(self._folder / order.code)
        self._codes[order.code] = self._loop.time()
        return Kind(order.code)

    async def _prepare(self, plugins: str) -> None:
        """Have a plugin set on this node, before anything is computed that needs it.

        :raises SetUnusable: it cannot be
        """
        if not plugins:
            return
        plugin_set = PluginSet.from_json(plugins)
        if paths.is_ready(plugin_set.id, paths.node_folder()):
            return
        wheels = {w: await self._needed("wheel", w.sha256) for w in plugin_set.wheels}
        try:
            await asyncio.to_thread(preparing.prepare, plugin_set, wheels.__getitem__)
        finally:
            for wheel in wheels:
                self._things.pop(f"wheel-{wheel.sha256}", None)

    def _answer(self, order: Order, answer: Done | Failed, *, has_block: bool = False) -> None:
        processes = len(self._children)
        self.tell("done", order.number, answer, has_block, self.worker.address, processes)


def failure_of(error: Exception, stage: str) -> Failed:
    """Return an error that is not of the stage, but of what it needs."""
    failure = Failure(type=type(error).__name__, message=str(error), stage=stage)
    return Failed(failure.model_dump())


def name_of(server: str) -> str:
    """Return under what name a server has an agent, and a topic of events."""
    return f"flowdapt-{server}"


def node_name(worker: Any) -> str:
    """Return how people call a Dask worker: as it was named, or else by its address."""
    return short_name(worker.name, worker.address)


def short_name(name: object, address: str) -> str:
    """Return the name of a Dask worker, from how Dask describes it."""
    return address.partition("://")[2] if str(name) == address else str(name)
