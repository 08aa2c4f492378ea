"""Objects that are kept on the cluster, as gateways and Dask workers reach them.

The scheduler knows what there is, see :mod:`flowdapt_dask.objects`. A large object is in the memory
of the worker where it was put, and of each one where it was read since; processes of one machine
map it there, without a copy.
"""

from __future__ import annotations

import asyncio
import pickle
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from distributed.worker import get_data_from_worker
from flowdapt_workers.clusters import ClusterMemory
from flowdapt_workers.parts import INLINE_BYTES

from flowdapt.objects import Entry
from flowdapt_dask import objects
from flowdapt_dask.blocks import Block, pick

TRIES = 5  #: of reading what others replace meanwhile
BUSY_SECONDS = 0.05  #: pause before a worker is asked again that serves too many others


class DaskMemory(ClusterMemory):
    """The objects of a server.

    :param scheduler: a connection to it, of a client or of a worker
    :param topic: a name that no other server has
    """

    def __init__(self, scheduler: Any, topic: str) -> None:
        self._ask_scheduler = getattr(scheduler, objects.HANDLER)
        self.name = objects.name_of(topic)

    async def _ask(self, what: str, *args: Any) -> Any:
        message = pickle.dumps((what, args), 5)
        return pickle.loads(await self._ask_scheduler(name=self.name, message=message))  # noqa: S301

    async def put(
        self,
        namespace: str,
        key: str,
        block: memoryview,
        *,
        type: str = "",  # noqa: A002 - of an Entry
        ttl: float | None = None,
    ) -> None:
        """Keep a block, instead of the one that was there."""
        kept = Entry(namespace, key, "memory", block.nbytes, type)
        if block.nbytes <= INLINE_BYTES:
            await self._ask("keep", kept, ttl, bytes(block))
        else:
            await self._put(f"flowdapt-object-{uuid4().hex}", Block([block]), kept, ttl)

    @abstractmethod
    async def _put(self, name: str, block: Block, kept: Entry, ttl: float | None) -> None:
        """Make a block data of a worker, and have the scheduler keep it.

        :param name: of the data
        """

    async def get(self, namespace: str, key: str) -> memoryview | None:
        """Return a block; nothing where there is none.

        :raises KeyError: it was lost
        """
        for _ in range(TRIES):
            held = await self._ask("find", namespace, key)
            if held is None or isinstance(held, bytes):
                return None if held is None else memoryview(held)
            name, addresses = held
            for address in self._nearest(addresses):
                if (block := await self._fetch(name, address)) is not None:
                    return memoryview(block)
        said = f"the object {key!r} in the memory of namespace {namespace!r}"
        raise KeyError(f"{said} was lost with the node that had it")

    def _nearest(self, addresses: Sequence[str]) -> Sequence[str]:
        return addresses

    @abstractmethod
    async def _fetch(self, name: str, address: str) -> bytes | memoryview | None:
        """Return data that a worker has; nothing where it has it no more."""

    async def exists(self, namespace: str, key: str) -> bool:
        """Tell whether a block is there."""
        return bool(await self._ask("exists", namespace, key))

    async def delete(self, namespace: str, key: str) -> None:
        """Remove a block; silent if it is not there."""
        await self._ask("delete", namespace, key)

    async def list(self, namespace: str | None) -> Sequence[Entry]:
        """Return what is there, in one namespace or in all but those that begin with a dot."""
        found: Sequence[Entry] = await self._ask("entries", namespace)
        return found

    async def clear(self, namespace: str) -> None:
        """Remove a namespace with all that is in it."""
        await self._ask("clear", namespace)

    async def stats(self) -> dict[str, Any]:
        """Return how many bytes objects take, and the workers may take in all."""
        return dict(await self._ask("stats"))


class GatewayMemory(DaskMemory):
    """The same in the gateway.

    :param client: of Dask
    """

    def __init__(self, client: Any, topic: str) -> None:
        super().__init__(client.scheduler, topic)
        self._client = client

    async def _put(self, name: str, block: Block, kept: Entry, ttl: float | None) -> None:
        futures = await self._client.scatter({name: block}, hash=False)
        await self._ask("keep", kept, ttl, name)
        futures[name].release()

    async def _fetch(self, name: str, address: str) -> bytes | memoryview | None:
        asked = {"workers": [address], "on_error": "return"}
        found = (await self._client.run(pick, name, [0], **asked)).get(address)
        return None if isinstance(found, Exception) or found is None else found[0]


class WorkerMemory(DaskMemory):
    """The same in a Dask worker, which has the objects that its processes use.

    :param worker: of Dask
    """

    def __init__(self, worker: Any, topic: str) -> None:
        super().__init__(worker.scheduler, topic)
        self._worker = worker

    async def _put(self, name: str, block: Block, kept: Entry, ttl: float | None) -> None:
        has = {name: [self._worker.address]}
        self._worker.update_data({name: block})
        await self._worker.scheduler.update_data(
            who_has=has, nbytes={name: kept.size}, client=self.name
        )
        await self._ask("keep", kept, ttl, name)

    def _nearest(self, addresses: Sequence[str]) -> Sequence[str]:
        here = self._worker.address
        return sorted(addresses, key=lambda address: address != here)

    async def _fetch(self, name: str, address: str) -> bytes | memoryview | None:
        if name not in self._worker.data:
            try:
                data = await self._received(name, address)
            except OSError:  # that worker is gone
                return None
            if data is None:
                return None
            # From now on it is here as well; a scheduler that has forgotten it says so.
            self._worker.update_data({name: data})
            await self._worker.scheduler.add_keys(worker=self._worker.address, keys=[name])
            return data.content(0)
        block: Block = self._worker.data[name]
        return block.content(0)

    async def _received(self, name: str, address: str) -> Block | None:
        while True:
            answer: Any = await get_data_from_worker(self._worker.rpc, [name], address)
            if answer["status"] != "busy":
                found: Block | None = answer["data"].get(name)
                return found
            await asyncio.sleep(BUSY_SECONDS)
