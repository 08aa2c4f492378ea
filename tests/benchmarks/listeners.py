"""A thousand listeners to events on one server, and one among them that does not read."""

from __future__ import annotations

import asyncio
import re
import socket
import statistics
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from tests.benchmarks.load import quantile
from tests.benchmarks.measuring import Figure
from tests.benchmarks.servers import Process, app_dir, flowdapt
from tests.benchmarks.wire import Connection

LISTENERS = 1000
EVENTS = 50
AT_ONCE = 100  #: connections that are opened together
LARGE_BYTES = 200_000  #: of a resource that only the slow listener hears of; 50 fill its sockets
SLOW_BUFFER = 4096  #: bytes that the system keeps for it
WAIT_SECONDS = 30.0
PAUSE_SECONDS = 0.02  #: between events
MIB = 2**20
CHANGED = "/events?type=com.event.resource.changed"
ALL = "/events?limit=1000"


async def measure(repeat: int) -> list[Figure]:
    """Change a resource again and again, and note when the last listener knows."""
    del repeat
    with app_dir() as folder, flowdapt(folder) as server:
        publisher = await Connection.open(server.address)
        await _put(publisher, 0, create=True)
        crowd = await _listening(server.address)
        slow = Listener(CHANGED.partition("?")[0], lambda _: None)
        await slow.open(server.address, buffer=SLOW_BUFFER)
        slow.transport.pause_reading()
        before = _private(server)
        taken = [await _until_all_know(publisher, crowd, n) for n in range(1, EVENTS + 1)]
        grown = _private(server) - before
        caught_up, lost = await _catch_up(publisher, slow, server.address)
        for one in (*crowd.listeners, slow):
            one.transport.abort()
        publisher.close()
    facts = {
        "p50_ms": statistics.median(taken) * 1e3,
        "max_ms": max(taken) * 1e3,
        "listeners": LISTENERS,
        "events": EVENTS,
        "heard_twice_or_late": crowd.disorder(),
    }
    late = {"caught_up_s": caught_up, "server_mib_grown": grown, "cut_off": slow.cut_off}
    return [
        Figure("sse, p99 until all know", quantile(taken, 0.99) * 1e3, 250, unit="ms", facts=facts),
        Figure("sse, lost by a slow listener", lost, 0, unit="", facts=late),
    ]


class Listener(asyncio.Protocol):
    """One connection that listens, with as little work for each event as possible.

    :param heard: called with how many events it has heard by now
    :ivar positions: of all that it heard, in the order in which they came
    :ivar cut_off: how often the server closed the connection, and it came back
    """

    transport: asyncio.Transport

    def __init__(self, path: str, heard: Callable[[int], None]) -> None:
        self.path, self.heard = path, heard
        self.positions: list[int] = []
        self.cut_off = 0
        self.ready, self.closed = asyncio.Event(), asyncio.Event()
        self._data, self._text = bytearray(), bytearray()

    async def open(self, address: str, *, buffer: int | None = None) -> None:
        """Connect, and return once the server has begun to answer; from what was heard last on."""
        parts = urlsplit(address)
        sock = socket.socket()
        if buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, (parts.hostname, parts.port))
        self.ready.clear()
        self.closed.clear()
        self._data, self._text = bytearray(), bytearray()
        await loop.create_connection(lambda: self, sock=sock)
        async with asyncio.timeout(WAIT_SECONDS):
            await self.ready.wait()

    def connection_made(self, transport: Any) -> None:
        """Ask."""
        self.transport = transport
        last = f"last-event-id: {self.positions[-1]}\r\n" if self.positions else ""
        transport.write(
            f"GET {self.path} HTTP/1.1\r\nhost: localhost\r\n"
            f"accept: text/event-stream\r\n{last}\r\n".encode()
        )

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that it is over."""
        del exc
        self.closed.set()

    def data_received(self, data: bytes) -> None:
        """Take what came; an event counts once all of it is there."""
        self._data += data
        if not self.ready.is_set():
            head, end, rest = bytes(self._data).partition(b"\r\n\r\n")
            if not end:
                return
            if b" 200 " not in head.partition(b"\r\n")[0] or b"chunked" not in head.lower():
                raise RuntimeError(f"no stream of events: {head!r}")
            self._data = bytearray(rest)
            self.ready.set()
        self._take_chunks()
        *messages, rest = bytes(self._text).replace(b"\r\n", b"\n").split(b"\n\n")
        if messages:
            self._text = bytearray(rest)
            for message in messages:
                # Without data it only says where the listener is.
                if (found := re.match(rb"id: (\d+)", message)) and b"\ndata:" in message:
                    self.positions.append(int(found[1]))
                    self.heard(len(self.positions))

    def _take_chunks(self) -> None:
        while (end := self._data.find(b"\r\n")) >= 0:
            size = int(self._data[:end], 16)
            if len(self._data) < end + size + 4:
                return
            self._text += self._data[end + 2 : end + 2 + size]
            del self._data[: end + size + 4]


class Crowd:
    """All listeners that read what comes."""

    def __init__(self) -> None:
        self.listeners = [Listener(CHANGED, self._heard) for _ in range(LISTENERS)]
        self._counts = [0] * (EVENTS + 1)
        self._all = [asyncio.Event() for _ in self._counts]

    def _heard(self, count: int) -> None:
        self._counts[count] += 1
        if self._counts[count] == LISTENERS:
            self._all[count].set()

    async def until_all_heard(self, count: int) -> None:
        """Return once everybody has heard so many events."""
        async with asyncio.timeout(WAIT_SECONDS):
            await self._all[count].wait()

    def disorder(self) -> int:
        """Return how many did not hear what the first heard, each once and in order."""
        first = self.listeners[0].positions
        assert first == sorted(set(first))
        return sum(one.positions != first for one in self.listeners)


async def _listening(address: str) -> Crowd:
    crowd = Crowd()
    for first in range(0, LISTENERS, AT_ONCE):
        some = crowd.listeners[first : first + AT_ONCE]
        await asyncio.gather(*(one.open(address) for one in some))
    return crowd


async def _until_all_know(publisher: Connection, crowd: Crowd, count: int) -> float:
    """Return how long it takes from a request that changes something until all know."""
    large = {"metadata": {"name": f"large-{count}"}, "spec": {"data": {"x": "x" * LARGE_BYTES}}}
    (await publisher.ask("POST", "/configs/", body=large)).json()
    await asyncio.sleep(PAUSE_SECONDS)
    begun = time.perf_counter()
    await _put(publisher, count)
    await crowd.until_all_heard(count)
    taken = time.perf_counter() - begun
    await asyncio.sleep(PAUSE_SECONDS)
    return taken


async def _put(publisher: Connection, number: int, *, create: bool = False) -> None:
    small = {"metadata": {"name": "small"}, "spec": {"data": {"number": number}}}
    method, path = ("POST", "/configs/") if create else ("PUT", "/configs/small")
    (await publisher.ask(method, path, body=small)).json()


async def _catch_up(publisher: Connection, slow: Listener, address: str) -> tuple[float, int]:
    """Have the slow listener read, and return how long it takes and how many events it misses.

    A server may close a connection that takes too little; then it comes back and goes on.
    """
    begun = time.perf_counter()
    slow.transport.resume_reading()
    async with asyncio.timeout(WAIT_SECONDS):
        while len(slow.positions) < 2 * EVENTS:
            if slow.closed.is_set():
                slow.cut_off += 1
                await slow.open(address)
            await asyncio.sleep(0.01)
    taken = time.perf_counter() - begun
    stored = (await publisher.ask("GET", f"{ALL}&after={slow.positions[0] - 1}")).json()["events"]
    wanted = [event["position"] for event in stored]
    return taken, len(wanted) - len(set(wanted) & set(slow.positions))


def _private(server: Process) -> float:
    return float(server.tree()[0].memory_full_info().uss / MIB)
