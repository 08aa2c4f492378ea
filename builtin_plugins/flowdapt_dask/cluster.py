"""A Dask cluster, as the gateway sees it: orders are tasks, and their large results futures."""

from __future__ import annotations

import asyncio
import itertools
import logging
import pickle
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from weakref import WeakSet

import dask
from dask.base import annotate
from flowdapt_workers.asking import Asked
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
from flowdapt_dask import connecting, entry, objects, preparing, starting, traces
from flowdapt_dask.agent import name_of
from flowdapt_dask.amounts import restrictions
from flowdapt_dask.blocks import Block, pick
from flowdapt_dask.giving import Giving
from flowdapt_dask.orders import Kept, Sent, held_by, lost_of
from flowdapt_dask.placing import Place, chosen
from flowdapt_dask.sharing import GatewayMemory
from flowdapt_dask.workers import Workers

logger = logging.getLogger(__name__)

SMALL_CONTEXT = 16 * 1024  #: bytes of a run's context that travel with each of its orders
GATHER_SECONDS = 30.0  #: how long a result may take to come that is not where it was
STOP_SECONDS = 2.0  #: how long it may take to hear that something was stopped
MESSAGES_KEPT = 20  #: for who looks into Dask


class DaskCluster(Cluster):
    """A Dask cluster of this machine, or one that runs already."""

    def __init__(self, told: Told, surroundings: Surroundings, **options: Any) -> None:
        super().__init__(told, surroundings, **options)
        variables = {**surroundings.environment, **_texts(options.get("env_vars"))}
        self._about = replace(surroundings, environment=variables)
        self._topic = name_of(surroundings.server)
        self._stack = AsyncExitStack()
        self._client: Any  # Dask's client; what it has is only half typed
        self._workers = Workers(surroundings.version)
        self._sent: dict[int, Sent] = {}
        self._keys = itertools.count(1)
        self._kept: WeakSet[Kept] = WeakSet()
        self._giving: Giving
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
        self._stack.push_async_callback(connecting.leave, self._client, self._about.server)
        server, app_dir = self._about.server, self.surroundings.app_dir
        self._giving = Giving(self._client, server, app_dir, self._sent.values())
        await connecting.check_versions(self._client, self._about.version, self._topic)
        if self._about.socket is not None:
            await self._client.run_on_scheduler(objects.arrive, self._topic, self._client.id)
        self._client.subscribe_topic(self._topic, self._told)
        self._client.subscribe_topic("all", self._happened)
        await self._refresh()
        if self._workers.unfit and not self._workers.places:
            said = "; ".join(node.problem for node in self._workers.unfit.values())
            raise ClusterUnavailable(said, final=True)
        if own is not None:
            starting.hasten(*own, self._client)
            self._do(self._client.run(entry.warm_up, self._about))
        self._do(connecting.prune_on_and_on(self._client))
        self._do(self._watch(self._client.scheduler.address))
        return {"address": address, **self._pages()}

    def _pages(self) -> dict[str, str]:
        """Return where the cluster shows itself, where it does."""
        link = self._client.dashboard_link
        if not link or self.options.get("dashboard_port") is False:
            return {}
        return {"dashboard_url": link.partition("://")[2]}

    async def prepare(self, plugins: str, wheels: Path, *, look: bool) -> Mapping[str, str]:
        """Have a plugin set ready on all workers."""
        await self._refresh()
        places = dict(self._workers.places)
        return await preparing.everywhere(self._client, places, plugins, wheels, look=look)

    def memory(self) -> GatewayMemory:
        """Return the objects that are kept on the cluster."""
        return GatewayMemory(self._client, self._topic)

    async def close(self) -> None:
        """Let go of the cluster."""
        for task in self._later:
            task.cancel()
        await self._stack.aclose()

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        """Have work done in the background."""
        task = asyncio.create_task(work)
        self._later.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._later.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.warning("the Dask cluster was not asked successfully: %r", error)

    async def _watch(self, address: str) -> None:
        """Notice that the connection is lost; Dask would wait for it, and forget what we have."""
        await connecting.until_lost(self._client)
        self.told.down(f"the connection to the Dask scheduler at {address} is lost")

    @property
    def _connected(self) -> bool:
        connected: bool = self._client.status == "running"
        return connected

    # Workers ---------------------------------------------------------------------------------

    async def nodes(self) -> Sequence[Node]:
        """Return the workers, those that take no orders with the reason."""
        await self._refresh()
        unfit = self._workers.unfit.values()
        return [*(place.node for place in self._workers.places.values()), *unfit]

    async def _refresh(self) -> None:
        """Look which workers there are, and have new ones take orders."""
        joined, gone = await self._workers.look(self._client)
        for place in gone:
            self._lose(place)
        if joined:
            for sent in self._sent.values():
                sent.joined.set()

    def _happened(self, event: tuple[float, Any]) -> None:
        """Hear what happens on the cluster."""
        _, what = event
        if isinstance(what, dict) and what.get("action") == "remove-worker":
            place = self._workers.places.pop(what["worker"], None)
            if place is not None:
                self._lose(place)

    def _lose(self, place: Place) -> None:
        """Give up what a worker had that is gone."""
        logger.warning("the Dask worker %s is gone", place.name)
        for sent in self._sent.values():
            if sent.place is place:
                sent.fail(OrderLost(f"its node {place.name} is gone"))
        if blocks := [kept for kept in self._kept if kept.address == place.address]:
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
            if not sent.begun and (lost := lost_of(sent.blocks)):
                sent.fail(BlocksLost(lost))

    # Orders ----------------------------------------------------------------------------------

    async def compute(
        self, order: Order, context: bytes, code: bytes, blocks: Mapping[int, Kept]
    ) -> Answer:
        """Compute an order."""
        if lost := lost_of(blocks):
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
        except asyncio.CancelledError:
            await self._stopped(sent)
            raise
        finally:
            del self._sent[order.number]

    async def _stopped(self, sent: Sent) -> None:
        """Wait until an order that was cancelled is computed no more."""
        if sent.begun:
            await asyncio.wait([sent.answer], timeout=STOP_SECONDS)
        if sent.answer.done() and not sent.answer.cancelled():
            sent.answer.exception()  # nobody else asks

    async def _attempted(self, sent: Sent) -> Answer | None:
        """Have Dask compute an order; return nothing where that has to be asked of it anew."""
        wanted = sent.order.wanted
        kept = None
        sent.move(chosen(self._workers.places, wanted, held_by(sent.blocks)))
        future = self._submitted(sent)
        try:
            await self._settled(sent, future)
            if not sent.answer.done():
                return None
            answer, has_block, address = sent.answer.result()
            if has_block:
                kept = Kept(future, address, _size(answer))
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
        with annotate(span=traces.SPAN):
            return self._client.submit(
                entry.compute,
                key,
                pickle.dumps((self._about, order, small), 5),
                *(sent.blocks[number].future for number in order.needs),
                key=key,
                pure=False,
                retries=0,
                priority=order.priority,
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

    def _on_items(self, number: int, first: int, texts: list[bytes]) -> None:
        if (sent := self._sent.get(number)) is not None:  # else it is another attempt's
            self.told.items(sent.order, first, texts)

    def _on_started(self, number: int, address: str, worker: str) -> None:
        if (sent := self._sent.get(number)) is not None:
            sent.begun = True
            sent.move(self._workers.places.get(address))
            self.told.started(sent.order, worker)

    def _on_entered(self, number: int) -> None:
        if (sent := self._sent.get(number)) is not None:
            sent.begun = True
            self.told.entered(sent.order)

    def _on_deferred(self, number: int) -> None:
        if (sent := self._sent.get(number)) is not None:
            sent.defer()

    def _on_idle(self, number: int, idle: bool) -> None:
        if (sent := self._sent.get(number)) is not None:
            sent.defer(idle)

    def _on_ask(self, number: int, address: str, question: int, asked: Asked | None) -> None:
        if (sent := self._sent.get(number)) is not None:
            sent.begun, sent.asked_at = True, address
            self.told.ask(sent.order, question, asked)

    def answer(self, order: int, question: int, text: bytes) -> None:
        """Answer what the code of an order asked."""
        if (sent := self._sent.get(order)) is not None and sent.asked_at:
            given = self._about.server, order, question, text
            self._do(self._client.run(entry.answer, *given, workers=[sent.asked_at]))

    def _on_done(
        self, number: int, answer: Done | Failed, has_block: bool, address: str, processes: int
    ) -> None:
        if (sent := self._sent.get(number)) is None or sent.answer.done():
            return
        if (place := self._workers.places.get(address)) is not None:  # or it has only just come
            place.processes = processes
            sent.move(place)
        sent.answer.set_result((answer, has_block, address))

    def _on_lost(self, number: int, cause: str) -> None:
        if (sent := self._sent.get(number)) is not None:
            sent.fail(OrderLost(cause))

    def _on_gone(self, number: int, blocks: Sequence[int]) -> None:
        if (sent := self._sent.get(number)) is not None:
            sent.fail(BlocksLost(blocks))

    def _on_needs(self, kind: str, name: str, address: str) -> None:
        self._do(self._giving.give(kind, name, address))

    # Results ---------------------------------------------------------------------------------

    async def fetch(self, block: Kept, parts: Sequence[Held]) -> Sequence[bytes | memoryview]:
        """Return payloads of a block."""
        places, key = [part.place for part in parts], block.future.key
        try:
            answers = await self._client.run(pick, key, places, workers=[block.address])
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


def _why(ended: asyncio.Future[Any]) -> str:
    """Say why Dask ended a task that had not answered."""
    if ended.cancelled():
        return "Dask cancelled it"
    error = ended.exception() or ended.result()
    return f"Dask gave it up: {type(error).__name__}: {error}" if error else "its answer was lost"
