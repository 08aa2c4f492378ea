"""Computes orders on a Ray cluster; lives in a gateway, the only process of ours that knows Ray."""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import pickle
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from flowdapt_sets.paths import WHEELS
from flowdapt_workers.calls import Done, Failed, Order
from flowdapt_workers.clusters import (
    Answer,
    Block,
    Cluster,
    ClusterUnavailable,
    OrderLost,
    Surroundings,
    Told,
)
from flowdapt_workers.lacking import located
from flowdapt_workers.parts import Held

from flowdapt.executors import Node
from flowdapt_ray import connections, names, watching
from flowdapt_ray.actors import ServerActor
from flowdapt_ray.attendants import Attendant
from flowdapt_ray.deaths import Deaths
from flowdapt_ray.handing import Handed
from flowdapt_ray.inboxes import Inbox
from flowdapt_ray.listing import Listing, Place
from flowdapt_ray.losses import failure_of, is_of_process, is_of_task, loss_of
from flowdapt_ray.memory import RayMemory
from flowdapt_ray.options import sorted_out
from flowdapt_ray.preparing import Preparing
from flowdapt_ray.probing import Probes
from flowdapt_ray.tasks import Lacking, Setup, compute
from flowdapt_ray.ways import LANES, Ways
from flowdapt_ray.workers import Answered

logger = logging.getLogger(__name__)

KILL_SECONDS = 0.6  #: after it was told to stop, until a process is killed that did not heed it
CALLS_AT_ONCE = 10_000  #: of the actor; whoever posts while it is full waits there


class RayCluster(Cluster):
    """A cluster that runs, or one of our own on this machine."""

    def __init__(self, told: Told, surroundings: Surroundings, **options: Any) -> None:
        super().__init__(told, surroundings, **options)
        self._sorted = sorted_out(options)
        self._setup = Setup(
            surroundings.version,
            {**surroundings.environment, names.SERVER: surroundings.server},
            surroundings.log_level,
        )
        self._attendant = Attendant()
        self._probes = Probes(surroundings.version)
        self._listing = Listing(self._attendant, self._probes, self._sorted.selector)
        self._preparing = Preparing(self._attendant, self._listing)
        self._deaths = Deaths(self._attendant, self._listing)
        self._inbox = Inbox(told, self._listing.worker_name)
        self._handed = Handed()
        self._ways: Ways
        self._actor: Any = None  # kept, because it ends when nobody refers to it
        self._tasks: set[asyncio.Task[Any]] = set()
        self._lost = self._parted = False

    # The cluster -----------------------------------------------------------------------------

    async def open(self) -> Mapping[str, Any]:
        """Start the cluster, or connect to it."""
        await connections.imported(self._sorted)
        atexit.register(self._leave)  # so that this comes before what Ray has registered
        dashboard = await connections.connect(self._attendant, self._sorted)
        import ray

        about = ray.get_runtime_context()
        self._ways = self._made_ways()
        self._actor = self._made_actor(about.get_node_id())
        self._later(self._inbox.listen(self._actor))
        await self._deaths.begin()
        host, _, port = about.gcs_address.rpartition(":")
        places = await self._listing.begin(about.get_node_id())
        self._later(self._watch({"the head node": (host, int(port)), **places}))
        facts = {"ray": ray.__version__, "address": about.gcs_address}
        return facts | ({"dashboard_url": dashboard} if dashboard else {})

    def _made_ways(self) -> Ways:
        import ray

        def registered() -> Any:
            return ray.remote(num_returns=2, max_retries=0)(compute)

        try:
            return Ways(registered, self._sorted.strategy, self._sorted.selector)
        except ValueError as error:
            said = f"Ray refuses the options of its executor: {error}"
            raise ClusterUnavailable(said, final=True) from error

    def _made_actor(self, node: str) -> Any:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        kind = ray.remote(ServerActor).options(
            name=names.actor_of(self.surroundings.server),
            num_cpus=0,
            max_restarts=-1,
            max_concurrency=CALLS_AT_ONCE,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=True),
        )
        return kind.remote()

    def _later(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _watch(self, places: Mapping[str, Place]) -> None:
        reason = await watching.lost(places)
        self._lost = True
        self.told.down(reason)

    async def close(self) -> None:
        """Let go of the cluster, or end it."""
        self._probes.stop()
        for task in self._tasks:
            task.cancel()
        if not self._lost:
            import ray

            await self._attendant.call(ray.shutdown)
            self._parted = True

    def _leave(self) -> None:
        """End at once where Ray would wait: for a cluster that is lost, or is not there yet."""
        if not self._parted:
            os._exit(0)  # the processes that Ray started here end as well

    async def nodes(self) -> Sequence[Node]:
        """Return the nodes that are alive."""
        return await self._listing.nodes()

    async def prepare(self, plugins: str, wheels: Path, *, look: bool) -> Mapping[str, str]:
        """Have a plugin set ready on all nodes."""
        return await self._preparing.everywhere(plugins, wheels, look=look)

    def memory(self) -> RayMemory:
        """Return the objects that are kept on the cluster."""
        return RayMemory(self._actor)

    # Orders ----------------------------------------------------------------------------------

    async def compute(
        self, order: Order, context: bytes, code: bytes, blocks: Mapping[int, Block]
    ) -> Answer:
        """Compute an order as one task, for which Ray chooses the node."""
        given = (
            await self._handed.over("context", order.task.run, context),
            await self._handed.over("code", order.code, code),
        )
        # One argument for all that is small: Ray spends a tenth of a millisecond on each.
        inline = tuple(data if isinstance(data, bytes) else None for data in given)
        head = pickle.dumps((self._setup, pickle.dumps(order, 5), inline), 5)
        large = [data for data in given if not isinstance(data, bytes)]
        needed = [blocks[number] for number in order.needs]
        while True:
            unfit, lane = self._probes.unfit, self._inbox.free_lane(LANES)
            try:
                way = self._ways.of(order.wanted, order.code, unfit, lane)
                answer, block = way.remote(head, *large, *needed)
            except ValueError as error:  # such as one and a half of a device
                said = f"Ray refuses what it asks for: {error}"
                return failure_of(order, said, "NeverFits"), None
            self._inbox.expect(order, lane)
            try:
                answered = await self._answered(order, answer)
            except Exception as error:
                if not (is_of_task(error) and await self._learns_more_than(unfit)):
                    return await self._unanswered(order, error, blocks), None
            else:
                if isinstance(answered, Answered):
                    break
                if isinstance(answered, Lacking):
                    await self._prepare_late(order, answered)
                elif not await self._learns_more_than(unfit):
                    raise OrderLost(answered)
            finally:
                self._forget(order)
        answer = located(answered.answer, self._listing.name(answered.node))
        worker = self._listing.worker_name(answered.pid, answered.node)
        if isinstance(answer, Done):
            answer = replace(answer, worker=worker)
        else:
            answer = answer._replace(worker=worker)
        return answer, block if answered.held else None

    def _forget(self, order: Order) -> None:
        if self._inbox.has_asked(order.number) and not self._lost:
            self._actor.close.remote(order.number)
        self._inbox.forget(order)

    def answer(self, order: int, question: int, text: bytes) -> None:
        """Answer what the code of an order asked."""
        if self._inbox.has_asked(order) and not self._lost:
            self._actor.give.remote(order, question, text)

    async def _prepare_late(self, order: Order, lacking: Lacking) -> None:
        """Have nodes prepare what one of them lacks, such as one that has just joined.

        :raises OrderLost: one cannot
        """
        wheels = self.surroundings.app_dir / WHEELS
        found = await self._preparing.everywhere(lacking.plugins, wheels, look=False)
        if wrong := [f"{node}: {said}" for node, said in found.items() if said]:
            raise OrderLost(f"the plugins of stage {order.task.stage!r}: {'; '.join(wrong)}")

    async def _answered(self, order: Order, answer: Any) -> Answered | Lacking | str:
        """Wait for a task; return why its node cannot compute, where it cannot."""
        computing = asyncio.wrap_future(answer.future())
        try:
            answered: Answered | Lacking | str = pickle.loads(await asyncio.shield(computing))  # noqa: S301 - our workers'
        except asyncio.CancelledError:
            await asyncio.shield(self._later(self._cancel(answer, computing)))
            raise
        if isinstance(answered, Answered):
            await self._inbox.complete(order, answered.posted)
        return answered

    async def _learns_more_than(self, unfit: frozenset[str]) -> bool:
        """Ask nodes that nobody knew yet; tell whether others than these cannot compute for us."""
        with suppress(Exception):  # what cannot be asked is not known to be unfit
            await self._listing.nodes()
        await self._probes.answers()
        return self._probes.unfit != unfit

    async def _unanswered(
        self, order: Order, error: Exception, blocks: Mapping[int, Block]
    ) -> Failed:
        """Return a failure, or raise that something was lost."""
        numbers = {blocks[number].hex(): number for number in order.needs}
        worker = self._inbox.worker(order)
        if not worker and is_of_process(error):
            worker = await self._deaths.newest()
        if (loss := loss_of(error, worker, numbers)) is None:
            return failure_of(order, str(error), type(error).__name__)
        if not numbers:
            self._handed.forget_all()
        raise loss from error

    async def _cancel(self, answer: Any, computing: asyncio.Future[bytes]) -> None:
        """Tell a task to stop; kill its process where that does not help."""
        if self._lost:
            return
        import ray

        ray.cancel(answer)
        done, _ = await asyncio.wait([computing], timeout=KILL_SECONDS)
        if not done:
            ray.cancel(answer, force=True)
            await asyncio.wait([computing], timeout=KILL_SECONDS)
        if computing.done() and not computing.cancelled():
            computing.exception()  # nobody else looks at it

    async def fetch(self, block: Block, parts: Sequence[Held]) -> Sequence[bytes | memoryview]:
        """Return payloads of a block."""
        found = await asyncio.wrap_future(block.future())
        return [found.packed(part.place) for part in parts]
