"""The actor of a server: what processes of the cluster reach it through, since they know no other.

It runs on the server's own machine, takes no processor, and ends with the gateway.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from flowdapt_workers.indexes import Index

from flowdapt.objects import Entry
from flowdapt_ray.blocks import Block

ROOM_BYTES = 64 * 2**20  #: of messages that the gateway has not taken; beyond it, senders wait


class ServerActor:
    """Holds messages of workers until the gateway takes them, and knows where objects are."""

    def __init__(self) -> None:
        self._messages: list[bytes] = []
        self._bytes = 0
        self._some, self._room = asyncio.Event(), asyncio.Event()
        self._room.set()
        self._answers: dict[tuple[int, int], asyncio.Future[bytes]] = {}
        self._index = Index(lambda *when: asyncio.get_running_loop().call_later(*when))

    # Messages --------------------------------------------------------------------------------

    async def post(self, message: bytes) -> None:
        """Take a message; those of one process stay in order."""
        self._messages.append(message)
        self._bytes += len(message)
        self._some.set()
        if self._bytes > ROOM_BYTES:
            self._room.clear()
            await self._room.wait()

    async def take(self, seconds: float) -> list[bytes]:
        """Return the messages that are there, or else wait for some; at most for so long."""
        try:
            await asyncio.wait_for(self._some.wait(), seconds)
        except TimeoutError:
            return []
        taken, self._messages, self._bytes = self._messages, [], 0
        self._some.clear()
        self._room.set()
        return taken

    # Answers ---------------------------------------------------------------------------------

    async def answer(self, order: int, question: int) -> bytes:
        """Return the answer to what the code of an order asked, once it is there."""
        key = order, question
        future = self._answers.setdefault(key, asyncio.get_running_loop().create_future())
        try:
            return await future
        finally:
            self._answers.pop(key, None)

    async def give(self, order: int, question: int, text: bytes) -> None:
        """Take an answer, perhaps before anybody waits for it here."""
        key = order, question
        future = self._answers.setdefault(key, asyncio.get_running_loop().create_future())
        if not future.done():
            future.set_result(text)

    async def close(self, order: int) -> None:
        """Forget an order that has ended, and whoever waits for its sake."""
        for key in [key for key in self._answers if key[0] == order]:
            self._answers.pop(key).cancel()

    # Objects ---------------------------------------------------------------------------------

    async def keep(self, entry: Entry, ttl: float | None, block: bytes | Block) -> None:
        """Keep an object whose putter may end: Ray lets go of what a process that ended had put.

        :param entry: what is known of it, but when it was made
        """
        import ray

        held: Any = block
        if isinstance(block, Block):  # a copy, in memory, that is ours; other calls go on meanwhile
            held = [await asyncio.to_thread(ray.put, block)]
        self._keep(entry, ttl, held)

    async def keep_held(self, entry: Entry, ttl: float | None, held: list[Any]) -> None:
        """Keep an object of the gateway's, which ends when we do.

        :param held: the reference to its block
        """
        self._keep(entry, ttl, held)

    def _keep(self, entry: Entry, ttl: float | None, held: Any) -> None:
        now = time.time()
        expires = None if ttl is None else now + ttl
        facts = entry.namespace, entry.key, "memory", entry.size, entry.type, now, expires
        self._index.put(Entry(*facts), held, ttl)

    async def find(self, namespace: str, key: str) -> Any:
        """Return the bytes of an object, or a list with the reference to its block, or nothing."""
        return self._index.get(namespace, key)

    async def exists(self, namespace: str, key: str) -> bool:
        """Tell whether an object is there."""
        return self._index.get(namespace, key) is not None

    async def delete(self, namespace: str, key: str) -> None:
        """Remove an object."""
        self._index.delete(namespace, key)

    async def entries(self, namespace: str | None) -> list[Entry]:
        """Return what is there, in one namespace or in all but hidden ones."""
        return self._index.entries(namespace)

    async def clear(self, namespace: str) -> None:
        """Remove a namespace."""
        self._index.clear(namespace)

    async def used(self) -> int:
        """Return how many bytes there are of all objects."""
        return self._index.used
