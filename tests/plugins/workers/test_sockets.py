"""A cluster's memory, through a socket: the contract of memories, and what else may happen."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from flowdapt_workers.clusters import ClusterMemory
from flowdapt_workers.shared import Shared
from flowdapt_workers.sockets import MemorySocket, SocketMemory

from flowdapt.errors import MemoryFull
from flowdapt.objects import Entry, Memory
from flowdapt.testing import MemorySuite


class KeptMemory(ClusterMemory):
    """What a cluster would keep, in this process."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], tuple[Entry, memoryview]] = {}

    async def put(
        self,
        namespace: str,
        key: str,
        block: memoryview,
        *,
        type: str = "",  # noqa: A002
        ttl: float | None = None,
    ) -> None:
        now = time.time()
        entry = Entry(namespace, key, "memory", block.nbytes, type, now)
        entry = replace(entry, expires=None if ttl is None else now + ttl)
        self.kept[namespace, key] = entry, block

    async def get(self, namespace: str, key: str) -> memoryview | None:
        entry, block = self.kept.get((namespace, key), (None, None))
        return block if entry and (entry.expires is None or entry.expires > time.time()) else None

    async def exists(self, namespace: str, key: str) -> bool:
        return await self.get(namespace, key) is not None

    async def delete(self, namespace: str, key: str) -> None:
        self.kept.pop((namespace, key), None)

    async def list(self, namespace: str | None) -> Sequence[Entry]:
        now = time.time()
        return [
            entry
            for entry, _ in self.kept.values()
            if (entry.expires is None or entry.expires > now)
            and (entry.namespace == namespace or namespace is None)
            and (namespace is not None or not entry.namespace.startswith("."))
        ]

    async def clear(self, namespace: str) -> None:
        for known in [known for known in self.kept if known[0] == namespace]:
            del self.kept[known]


@pytest.fixture
def kept() -> KeptMemory:
    return KeptMemory()


@pytest.fixture
def served(tmp_path: Path, kept: KeptMemory) -> Iterator[Path]:
    """A socket that is served by another thread's event loop, as a gateway does."""
    loop, path = asyncio.new_event_loop(), tmp_path / "memory.sock"
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def begin() -> MemorySocket:
        return MemorySocket(kept, path)

    socket = asyncio.run_coroutine_threadsafe(begin(), loop).result()
    yield path
    socket.close()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture
def memory(served: Path) -> Iterator[SocketMemory]:
    memory = SocketMemory(str(served))
    yield memory
    memory.close()


class TestSocketMemory(MemorySuite):
    @pytest.fixture
    def memory(self, memory: SocketMemory) -> Memory:
        return memory


def test_only_the_user_can_reach_it(served: Path) -> None:
    assert served.stat().st_mode & 0o777 == 0o600


def test_a_large_block_is_not_copied_on_its_way(memory: SocketMemory, kept: KeptMemory) -> None:
    memory.put("farm", "cow", [bytes(1_000_000)], size=1_000_000)

    first, second = memory.get("farm", "cow"), memory.get("farm", "cow")

    maps = [block.obj for block in (first, second, kept.kept["farm", "cow"][1])]
    files = {os.fstat(found.fd).st_ino for found in maps if isinstance(found, Shared)}
    assert (len(maps), len(files)) == (3, 1)


def test_nobody_there_is_said(tmp_path: Path) -> None:
    memory = SocketMemory(str(tmp_path / "nowhere.sock"))

    with pytest.raises(KeyError, match="cannot be reached"):
        memory.get("farm", "cow")


def test_a_fault_of_the_cluster_is_an_answer(memory: SocketMemory, kept: KeptMemory) -> None:
    kept.kept["farm", "cow"] = None  # type: ignore[assignment]  # what no memory has

    with pytest.raises(KeyError, match="TypeError"):
        memory.get("farm", "cow")
    assert not memory.exists("farm", "pig")


def test_a_cluster_that_has_no_room_says_so(
    memory: SocketMemory, kept: KeptMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuses(*_: object, **__: object) -> None:
        raise MemoryFull("the store has no room")

    monkeypatch.setattr(kept, "put", refuses)

    with pytest.raises(MemoryFull, match="the store has no room"):
        memory.put("farm", "cow", [b"moo"], size=3)


def test_who_serves_may_be_replaced(memory: SocketMemory) -> None:
    memory.put("farm", "cow", [b"moo"], size=3)
    assert memory._end is not None

    memory._end.close()  # as when the other side ended

    assert bytes(memory.get("farm", "cow")) == b"moo"
