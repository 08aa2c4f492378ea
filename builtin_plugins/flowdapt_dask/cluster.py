"""A Dask cluster, as the gateway sees it: orders are tasks, and their large results futures."""

from __future__ import annotations

import asyncio
import itertools
import logging
import pickle
from collections import Counter
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Any
from weakref import WeakSet

import dask
from dask.base import annotate
from flowdapt_workers.calls import Done, Failed, Order
from flowdapt_workers.clusters import (
    Answer,
    BlocksLost,
    Cluster,
    ClusterUnavailable,
    OrderLost,
    Surroundings,
    Told,
)
from flowdapt_workers.parts import Held

from flowdapt.executors import Node
from flowdapt_dask import connecting, entry, starting, traces
from flowdapt_dask.agent import name_of, short_name
from flowdapt_dask.amounts import restrictions
from flowdapt_dask.blocks import Block
from flowdapt_dask.placing import Place, chosen

logger = logging.getLogger(__name__)

SMALL_CONTEXT = 16 * 1024  #: bytes of a run's context that travel with each of its orders
GATHER_SECONDS = 30.0  #: how long a result may take to come that is not where it was
PREPARE_SECONDS = 10.0  #: how long new workers may take to get ready
PRUNE_SECONDS = 30.0  #: how often the scheduler is to forget tasks that are gone
WATCH_SECONDS = 0.25  #: how often the connection is looked at
LEAVE_SECONDS = 3.0  #: how long the cluster may take to forget a server
MESSAGES_KEPT = 20  #: for who looks into Dask
CLOSE_SECONDS = 1.0  #: how long a client may take to close


@dataclass(eq=False)
class Kept:
    """A block on the cluster.

    :param address: of the worker that made it
    :param size: bytes
    :param lost: that worker is gone
    """

    future: Any
    address: str
    size: int
    lost: bool = False


@dataclass(eq=False)
class Sent:
    """An order that is not answered.

    :param things: what it has in common with other orders, by kind
    :param blocks: what it takes
    :param place: where it is computed, as far as that is known
    :param begun: it is computed now, so it has what it takes
    """

    order: Order
    things: Mapping[str, bytes]
    blocks: Mapping[int, Kept]
    answer: asyncio.Future[tuple[Done | Failed, bool]]
    joined: asyncio.Event = field(default_factory=asyncio.Event)
    place: Place | None = None
    begun: bool = False
    deferred: bool = False

    def move(self, place: Place | None) -> None:
        """Note where it is computed, and takes room."""
        if place is self.place:
            return
        if self.place is not None:
            self.place.take(self.taken, -1)
        self.place = place
        if self.place is not None:
            self.place.take(self.taken)

    @property
    def taken(self) -> Mapping[str, float]:
        """What it takes now: while it only waits, no processor."""
        wanted = self.order.wanted
        return {n: wanted[n] for n in wanted if n != "cpus"} if self.deferred else wanted

    def defer(self) -> None:
        """Note that it only waits from now on."""
        place = self.place
        self.move(None)
        self.deferred = True
        self.move(place)

    def fail(self, error: Exception) -> None:
        """End without an answer."""
        if not self.answer.done():
            self.answer.set_exception(error)


class DaskCluster(Cluster):
    """A Dask cluster of this machine, or one that runs already."""

    def __init__(self, told: Told, surroundings: Surroundings, **options: Any) -> None:
        super().__init__(told, surroundings, **options)
        variables = {**surroundings.environment, **_texts(options.get("env_vars"))}
        self._about = replace(surroundings, environment=variables)
        self._topic = name_of(surroundings.server)
        self._stack = AsyncExitStack()
        self._client: Any  # Dask's client; what it has is only half typed
        self._places: dict[str, Place] = {}
        self._unfit: dict[str, str] = {}  # workers that take no orders, and why
        self._sent: dict[int, Sent] = {}
        self._keys = itertools.count(1)
        self._kept: WeakSet[Kept] = WeakSet()
        self._later: set[asyncio.Task[None]] = set()

    # Opening and closing ---------------------------------------------------------------------

    async def open(self) -> Mapping[str, Any]:
        """Start a cluster, or connect to one."""
        try:
            return await self._opened()
        except BaseException:
            await self._stack.aclose()
            raise

    async def _opened(self) -> Mapping[str, Any]:
        address = self.options.get("cluster_address")
        security = connecting.security_of(self.options.get("security"))
        # Dask keeps the last messages of every connection, and ours may be large.
        dask.config.set({"distributed.admin.low-level-log-length": MESSAGES_KEPT})
        own = None
        if address is None:
            folder = self.surroundings.app_dir / "dask"
            own = await starting.started(self._stack, folder, self.options, security)
            address = own[0].address
        self._client = await connecting.connected(address, security)
        self._stack.push_async_callback(self._leave)
        await connecting.check_versions(self._client, self._about.version, self._topic)
        self._client.subscribe_topic(self._topic, self._told)
        self._client.subscribe_topic("all", self._happened)
        await self._refresh()
        if self._unfit and not self._places:
            raise ClusterUnavailable("; ".join(self._unfit.values()), final=True)
        if own is not None:
            starting.hasten(*own, self._client)
            self._do(self._client.run(entry.warm_up, self._about))
        self._do(self._prune())
        self._do(self._watch(self._client.scheduler.address))
        return {"address": address, **self._pages()}

    def _pages(self) -> dict[str, str]:
        """Return where the cluster shows itself, where it does."""
        link = self._client.dashboard_link
        if not link or self.options.get("dashboard_port") is False:
            return {}
        return {"dashboard_url": link.partition("://")[2]}

    async def close(self) -> None:
        """Let go of the cluster."""
        for task in self._later:
            task.cancel()
        await self._stack.aclose()

    async def _leave(self) -> None:
        """Have the cluster forget this server."""
        try:
            self._client.unsubscribe_topic("all")  # or it is sent to us while we go
            async with asyncio.timeout(LEAVE_SECONDS):
                await self._client.run(entry.leave, self._about.server, on_error="ignore")
                await self._client.run_on_scheduler(traces.leave, self._topic)
        except Exception as error:  # the cluster is gone, or busy: agents end by themselves
            logger.info("the cluster was left in haste: %r", error)
        await self._client.close(CLOSE_SECONDS)

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        """Have work done in the background."""
        task = asyncio.create_task(work)
        self._later.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._later.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.warning("the Dask cluster was not asked successfully: %r", error)

    async def _prune(self) -> None:
        """Have the scheduler forget what it need not know any more."""
        while True:
            await asyncio.sleep(PRUNE_SECONDS)
            await self._client.run_on_scheduler(traces.prune, self._topic)

    async def _watch(self, address: str) -> None:
        """Notice that the connection is lost; Dask would wait for it, and forget what we have."""
        while self._connected:  # noqa: ASYNC110 - it sets no event
            await asyncio.sleep(WATCH_SECONDS)
        self.told.down(f"the connection to the Dask scheduler at {address} is lost")

    @property
    def _connected(self) -> bool:
        connected: bool = self._client.status == "running"
        return connected

    # Workers ---------------------------------------------------------------------------------

    async def nodes(self) -> Sequence[Node]:
        """Return the workers that take orders."""
        await self._refresh()
        return [place.node for place in self._places.values()]

    async def _refresh(self) -> None:
        """Look which workers there are, and have new ones take orders."""
        workers = (await self._client.scheduler.identity())["workers"]
        for address in [address for address in self._places if address not in workers]:
            self._lose(address)
        for address in [address for address in self._unfit if address not in workers]:
            del self._unfit[address]
        for address, place in self._places.items():
            place.running = workers[address].get("status", "running") == "running"
        new = [a for a in workers if a not in self._places and a not in self._unfit]
        if new:
            await self._prepare({a: short_name(workers[a]["name"], a) for a in new})

    async def _prepare(self, names: Mapping[str, str]) -> None:
        """Have workers take orders, if they can.

        :param names: by address
        """
        version = self._about.version
        async with asyncio.timeout(PREPARE_SECONDS):
            answers = await self._client.run(
                entry.prepare, version, workers=list(names), on_error="return"
            )
        for address, answer in answers.items():
            name = names[address]
            if isinstance(answer, dict):
                self._places[address] = Place(address, name, answer)
            elif not isinstance(answer, OSError):  # with that it is gone again
                self._unfit[address] = _complaint(name, answer, version)
                logger.error("%s", self._unfit[address])
        for sent in self._sent.values():
            sent.joined.set()

    def _happened(self, event: tuple[float, Any]) -> None:
        """Hear what happens on the cluster."""
        _, what = event
        if isinstance(what, dict) and what.get("action") == "remove-worker":
            self._lose(what["worker"])

    def _lose(self, address: str) -> None:
        """Give up what a worker had that is gone."""
        place = self._places.pop(address, None)
        if place is None:
            return
        logger.warning("the Dask worker %s is gone", place.name)
        for sent in self._sent.values():
            if sent.place is place:
                sent.fail(OrderLost(f"its node {place.name} is gone"))
        if blocks := [kept for kept in self._kept if kept.address == address]:
            self._do(self._look_for(blocks))

    async def _look_for(self, blocks: Sequence[Kept]) -> None:
        """Find out whether blocks are elsewhere, too, whose worker is gone."""
        found = await self._client.who_has([kept.future for kept in blocks])
        for kept in blocks:
            if others := found.get(kept.future.key):
                kept.address = others[0]
            else:
                kept.lost = True
                kept.future.release()  # or Dask makes it again, and perhaps for nobody
        for sent in self._sent.values():
            if not sent.begun and (lost := _lost(sent.blocks)):
                sent.fail(BlocksLost(lost))

    # Orders ----------------------------------------------------------------------------------

    async def compute(
        self, order: Order, context: bytes, code: bytes, blocks: Mapping[int, Kept]
    ) -> Answer:
        """Compute an order."""
        if lost := _lost(blocks):
            raise BlocksLost(lost)
        if not self._connected:
            await self._ended()
        future = asyncio.get_running_loop().create_future()
        sent = Sent(order, {"context": context, "code": code}, blocks, future)
        self._sent[order.number] = sent
        try:
            while True:
                sent.joined.clear()
                answer = await self._attempted(sent)
                if answer is not None:
                    return answer
        finally:
            del self._sent[order.number]

    async def _attempted(self, sent: Sent) -> Answer | None:
        """Have Dask compute an order; return nothing where that has to be asked of it anew."""
        wanted = sent.order.wanted
        kept = None
        sent.move(chosen(self._places, wanted, _held(sent.blocks)))
        future = self._submitted(sent)
        try:
            await self._settled(sent, future)
            if not sent.answer.done():
                return None
            answer, has_block = sent.answer.result()
            if has_block:
                assert sent.place is not None  # noqa: S101 - or there would be no answer
                kept = Kept(future, sent.place.address, _size(answer))
                self._kept.add(kept)
            return answer, kept
        finally:
            sent.move(None)
            if kept is None:
                future.release()  # and with it, if it is being computed, it is cancelled

    def _submitted(self, sent: Sent) -> Any:
        """Give an order to Dask as a task, for a certain worker where one has room for it."""
        order, place = sent.order, sent.place
        key = f"flowdapt-{order.task.stage}-{self._about.server}-{next(self._keys)}"
        context = sent.things["context"]
        small = context if len(context) <= SMALL_CONTEXT else None
        with annotate(span=traces.span_of(self._topic)):
            return self._client.submit(
                entry.compute,
                key,
                pickle.dumps((self._about, order, small), 5),
                *(sent.blocks[number].future for number in order.needs),
                key=key,
                pure=False,
                retries=0,
                workers=None if place is None else [place.address],
                resources=restrictions(self._about.version, order.wanted),
            )

    async def _settled(self, sent: Sent, future: Any) -> None:
        """Wait until an order is answered, or may be given to Dask anew.

        :raises OrderLost: Dask gave it up
        """
        ended = asyncio.ensure_future(future.exception())
        joined = asyncio.ensure_future(sent.joined.wait())
        awaited = {sent.answer, ended, joined}
        try:
            while not (sent.answer.done() or ended.done()):
                await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
                # Dask does not look again for a worker when one says what it has.
                if joined.done() and sent.place is None:
                    return
                if joined.done():
                    awaited.discard(joined)
        finally:
            joined.cancel()
            ended.cancel()
        if not sent.answer.done():
            if not self._connected:
                await self._ended()
            raise OrderLost(_why(ended))

    async def _ended(self) -> None:
        """Wait for the end of this process, which comes with the connection's, and say nothing.

        The server then has orders computed by the next one, and nobody is at fault.
        """
        await asyncio.get_running_loop().create_future()

    def _told(self, event: tuple[float, bytes]) -> None:
        """Take a message of an agent."""
        _, message = event
        kind, *rest = pickle.loads(message)  # noqa: S301 - from our own agents
        getattr(self, f"_on_{kind}")(*rest)

    def _on_log(self, run: str, stage: str, lines: bytes, count: int) -> None:
        self.told.log(run, stage, lines, count)

    def _on_started(self, number: int, address: str, worker: str) -> None:
        if (sent := self._sent.get(number)) is not None:
            sent.begun = True
            sent.move(self._places.get(address))
            self.told.started(sent.order, worker)

    def _on_done(
        self, number: int, answer: Done | Failed, has_block: bool, address: str, processes: int
    ) -> None:
        place = self._places.get(address)
        if (sent := self._sent.get(number)) is not None and not sent.answer.done() and place:
            place.processes = processes
            sent.move(place)
            sent.answer.set_result((answer, has_block))

    def _on_lost(self, number: int, cause: str) -> None:
        if (sent := self._sent.get(number)) is not None:
            sent.fail(OrderLost(cause))

    def _on_gone(self, number: int, blocks: Sequence[int]) -> None:
        if (sent := self._sent.get(number)) is not None:
            sent.fail(BlocksLost(blocks))

    def _on_needs(self, kind: str, name: str, address: str) -> None:
        for sent in self._sent.values():
            if name == {"context": sent.order.task.run, "code": sent.order.code}[kind]:
                self._do(self._give(kind, name, sent.things[kind], address))
                return

    async def _give(self, kind: str, name: str, thing: bytes, address: str) -> None:
        await self._client.run(entry.give, self._about.server, kind, name, thing, workers=[address])

    # Results ---------------------------------------------------------------------------------

    async def fetch(self, block: Kept, parts: Sequence[Held]) -> Sequence[bytes | memoryview]:
        """Return payloads of a block."""
        places, key = [part.place for part in parts], block.future.key
        try:
            answers = await self._client.run(entry.pick, key, places, workers=[block.address])
            found: list[bytes | memoryview] = answers[block.address]
        except Exception as error:  # that worker is gone, or has given it to another one
            logger.info("a result is not where it was: %r", error)
            async with asyncio.timeout(GATHER_SECONDS):
                whole: Block = await self._client.gather(block.future)
            found = [whole.content(place) for place in places]
        return found


def _texts(variables: Mapping[str, Any] | None) -> dict[str, str]:
    return {name: str(value) for name, value in (variables or {}).items()}


def _size(answer: Done | Failed) -> int:
    return answer.value.size if isinstance(answer, Done) else 0


def _lost(blocks: Mapping[int, Kept]) -> list[int]:
    return [number for number, kept in blocks.items() if kept.lost]


def _held(blocks: Mapping[int, Kept]) -> Counter[str]:
    """Return how many bytes of blocks are where."""
    held: Counter[str] = Counter()
    for kept in blocks.values():
        held[kept.address] += kept.size
    return held


def _why(ended: asyncio.Future[Any]) -> str:
    """Say why Dask ended a task that had not answered."""
    if ended.cancelled():
        return "Dask cancelled it"
    error = ended.exception() or ended.result()
    return f"Dask gave it up: {type(error).__name__}: {error}" if error else "its answer was lost"


def _complaint(name: str, answer: object, version: str) -> str:
    """Say why a worker takes no orders.

    :param answer: the version of flowdapt that it has, or what was raised there
    """
    if isinstance(answer, str):
        return (
            f"the Dask worker {name} has flowdapt {answer}, and this server {version}: "
            "install the same version there"
        )
    said = f"the Dask worker {name} cannot compute stages: {type(answer).__name__}: {answer}"
    return f"{said}; install flowdapt[dask] {version} there"
