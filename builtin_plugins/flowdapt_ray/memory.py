"""Objects that are kept on the cluster: the memory of its processes, and of everybody else.

The actor of a server knows what there is. Small blocks are there, too; large ones are in Ray's
object store, where each node reads them without a copy.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from flowdapt_workers.clusters import ClusterMemory
from flowdapt_workers.parts import INLINE_BYTES
from flowdapt_workers.sockets import SocketMemory, checked, outside

from flowdapt.context import Address
from flowdapt.errors import MemoryFull
from flowdapt.objects import Buffer, Entry, Memory
from flowdapt_ray import names
from flowdapt_ray.attendants import Attendant
from flowdapt_ray.blocks import Block
from flowdapt_ray.layouts import cut, joined
from flowdapt_ray.views import writable as made_writable

TARGET = "flowdapt_ray.memory:attach"  #: what processes attach with


def served(*, app_dir: Path) -> SocketMemory:
    """Return the server's view of the cluster's memory."""
    return outside(app_dir, target=TARGET)


def attach(path: str) -> Memory:
    """Return the memory of a server, as this process has it.

    :param path: of the socket through which processes reach it that Ray did not start
    """
    ray: Any = sys.modules.get("ray")
    if names.SERVER in os.environ and ray is not None and ray.is_initialized():
        return WorkerMemory(path)
    return SocketMemory(path, target=TARGET)


class WorkerMemory(Memory):
    """The memory of a server, in a process of the cluster.

    :param path: of a socket, for children that a stage forks
    """

    def __init__(self, path: str) -> None:
        self.address = Address(TARGET, json.dumps({"path": path}))
        self._pid, self._path = os.getpid(), path
        self._actor: Any = None

    def _ask(self, what: str, *args: Any) -> Any:
        """Have the actor do something, and return what it says."""
        import ray

        if self._actor is None:
            self._actor = names.actor(os.environ[names.SERVER])
        try:
            # Not ray.get: while a task waits there, its node starts another process instead.
            return getattr(self._actor, what).remote(*args).future().result()
        except ray.exceptions.ObjectStoreFullError as error:  # of a copy that the actor makes
            raise _full(error) from None
        except ray.exceptions.RayActorError as error:
            raise KeyError(f"the memory of the cluster is gone: {error}") from None

    @property
    def _outside(self) -> SocketMemory | None:
        """Another way, in a child that was forked, where Ray must not be called."""
        return None if os.getpid() == self._pid else SocketMemory(self._path, target=TARGET)

    def put(
        self,
        namespace: str,
        key: str,
        pieces: Iterable[Buffer],
        *,
        size: int,
        type: str = "",  # noqa: A002 - of an Entry
        ttl: float | None = None,
    ) -> None:
        """Keep a block, instead of the one that was there."""
        checked(namespace, key)
        if (other := self._outside) is not None:
            other.put(namespace, key, pieces, size=size, type=type, ttl=ttl)
            return
        block: Any = b"".join(pieces) if size <= INLINE_BYTES else _put(Block([cut(pieces)]))
        self._ask("keep", Entry(namespace, key, "memory", size, type), ttl, block)

    def get(self, namespace: str, key: str, *, writable: bool = False) -> memoryview:
        """Return a block, without a copy where it is large."""
        checked(namespace, key)
        if (other := self._outside) is not None:
            return other.get(namespace, key, writable=writable)
        held = self._ask("find", namespace, key)
        if held is None:
            raise KeyError(f"no object {key!r} in the memory of namespace {namespace!r}")
        if isinstance(held, bytes):
            return memoryview(bytearray(held) if writable else held)
        found = joined(_found(held[0].future().result, namespace, key).segments(0))
        return memoryview(made_writable(found)) if writable else found

    def exists(self, namespace: str, key: str) -> bool:
        """Tell whether a block is there."""
        checked(namespace, key)
        if (other := self._outside) is not None:
            return other.exists(namespace, key)
        return bool(self._ask("exists", namespace, key))

    def delete(self, namespace: str, key: str) -> None:
        """Remove a block; silent if it is not there."""
        checked(namespace, key)
        if (other := self._outside) is not None:
            other.delete(namespace, key)
        else:
            self._ask("delete", namespace, key)

    def list(self, namespace: str | None = None) -> Iterator[Entry]:
        """Yield what is there, in one namespace or in all but those that begin with a dot."""
        other = self._outside
        yield from self._ask("entries", namespace) if other is None else other.list(namespace)

    def clear(self, namespace: str) -> None:
        """Remove a namespace with all that is in it."""
        checked(namespace)
        if (other := self._outside) is not None:
            other.clear(namespace)
        else:
            self._ask("clear", namespace)

    def stats(self) -> dict[str, Any]:
        """Return how many bytes objects take, and there are in all."""
        other = self._outside
        return other.stats() if other is not None else _stats(self._ask("used"))


class RayMemory(ClusterMemory):
    """The same in the gateway.

    :param actor: of the server
    """

    def __init__(self, actor: Any) -> None:
        self._actor, self._attendant = actor, Attendant()

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
        entry = Entry(namespace, key, "memory", block.nbytes, type)
        if block.nbytes <= INLINE_BYTES:
            await self._actor.keep.remote(entry, ttl, bytes(block))
            return
        held = [await self._attendant.call(lambda: _put(Block([[block]])))]
        await self._actor.keep_held.remote(entry, ttl, held)

    async def get(self, namespace: str, key: str) -> memoryview | None:
        """Return a block; nothing where there is none."""
        held = await self._actor.find.remote(namespace, key)
        if held is None or isinstance(held, bytes):
            return None if held is None else memoryview(held)
        get = held[0].future().result
        return joined((await self._attendant.call(lambda: _found(get, namespace, key))).segments(0))

    async def exists(self, namespace: str, key: str) -> bool:
        """Tell whether a block is there."""
        return bool(await self._actor.exists.remote(namespace, key))

    async def delete(self, namespace: str, key: str) -> None:
        """Remove a block; silent if it is not there."""
        await self._actor.delete.remote(namespace, key)

    async def list(self, namespace: str | None) -> Sequence[Entry]:
        """Return what is there, in one namespace or in all but those that begin with a dot."""
        return list(await self._actor.entries.remote(namespace))

    async def clear(self, namespace: str) -> None:
        """Remove a namespace with all that is in it."""
        await self._actor.clear.remote(namespace)

    async def stats(self) -> dict[str, Any]:
        """Return how many bytes objects take, and there are in all."""
        used = await self._actor.used.remote()
        return await self._attendant.call(lambda: _stats(used))


def _put(block: Block) -> Any:
    import ray

    try:
        return ray.put(block)
    except ray.exceptions.ObjectStoreFullError as error:
        raise _full(error) from None


def _full(error: Exception) -> MemoryFull:
    said = str(error).strip().rpartition("\n")[2]
    return MemoryFull(f"there is no room in Ray's object store: {said}")


def _found(get: Any, namespace: str, key: str) -> Block:
    """Return a block that is referred to.

    :param get: brings it here
    """
    import ray

    try:
        return get()  # type: ignore[no-any-return]  # nothing else is ever put
    except ray.exceptions.ObjectLostError:
        said = f"the object {key!r} in the memory of namespace {namespace!r}"
        raise KeyError(f"{said} was lost with the node that had it") from None


def _stats(used: int) -> dict[str, Any]:
    import ray

    resources: Any = ray.cluster_resources
    return {"used": used, "capacity": int(resources().get("object_store_memory", 0))}
