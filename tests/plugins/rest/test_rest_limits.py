"""What clients may cost that are slow, silent, or many; over real sockets."""

from __future__ import annotations

import asyncio
import json
import select
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from flowdapt_rest.limits import Limits
from flowdapt_rest.service import RestService

from flowdapt.errors import SettingsError
from flowdapt.events import Event
from flowdapt.settings import Api

if TYPE_CHECKING:
    from flowdapt.events import Event
from flowdapt.server import Server

pytestmark = pytest.mark.anyio

SECONDS = 20.0  #: until something that should happen counts as not happening
SHORT = 0.2  #: a limit that a test waits for
NEVER = 600.0  #: one that it does not
HEAD = b"POST /configs/ HTTP/1.1\r\nHost: localhost\r\n"


@pytest.fixture(autouse=True)
def ticking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have late connections looked for often."""
    monkeypatch.setattr("flowdapt_rest.service.TICK_SECONDS", 0.02)


Serve = Callable[..., Awaitable[str]]


@pytest.fixture
async def serve(server: Server, workflows: httpx.AsyncClient) -> AsyncIterator[Serve]:
    """Start the service with other limits; return its address."""
    started: list[RestService] = []

    async def start(**options: float) -> str:
        started.append(RestService(server, **options))
        server.services["rest"] = started[0]
        await started[0].start()
        return server.addresses["rest"]

    yield start
    for service in started:
        await service.stop()


class Raw:
    """A client that sends what it likes, and reads when it likes."""

    def __init__(self, address: str, *, buffer: int | None = None) -> None:
        host, _, port = address.removeprefix("http://").rpartition(":")
        self.socket = socket.socket()
        if buffer is not None:  # before the connection, or it counts for nothing
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self.socket.connect((host, int(port)))
        self.socket.setblocking(False)

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.socket, data)

    async def read(self, size: int = 65536) -> bytes:
        """Return what comes next; nothing once the server has closed."""
        async with asyncio.timeout(SECONDS):
            try:
                return await asyncio.get_running_loop().sock_recv(self.socket, size)
            except ConnectionResetError:
                return b""

    async def until(self, text: bytes) -> bytes:
        """Return what comes, up to a text."""
        got = b""
        while text not in got and (part := await self.read()):
            got += part
        return got

    async def cut_off(self) -> None:
        """Wait until the server has ended the connection, and read nothing meanwhile."""
        ends = select.poll()
        ends.register(self.socket, 0)  # nothing but errors and ends
        async with asyncio.timeout(SECONDS):
            while not await asyncio.to_thread(ends.poll, 100):
                # A system that gives up a connection says so when something comes on it.
                with suppress(ConnectionError):
                    await self.send(b"\r\n")

    async def rest(self) -> bytes:
        """Return all that comes until the server closes."""
        parts = []
        while part := await self.read():
            parts.append(part)
        return b"".join(parts)


@pytest.fixture
def connect() -> Iterator[Callable[..., Raw]]:
    made: list[Raw] = []

    def begin(address: str, **options: Any) -> Raw:
        made.append(Raw(address, **options))
        return made[-1]

    yield begin
    for client in made:
        client.socket.close()


def refusal(reply: bytes) -> tuple[int, str]:
    """Return status and detail of an error in the form of all errors."""
    head, _, body = reply.partition(b"\r\n\r\n")
    status = int(head.split(b" ")[1])
    parsed = json.loads(body)
    assert parsed["status_code"] == status
    assert b"connection: close" in head.lower()
    return status, parsed["detail"]


Connect = Callable[..., Raw]

# Slow requests


async def test_whoever_sends_nothing_is_let_go(serve: Serve, connect: Connect) -> None:
    address = await serve(head_seconds=SHORT)

    silent = connect(address)

    assert await silent.rest() == b""


async def test_a_head_that_comes_a_byte_now_and_then_is_not_waited_for(
    serve: Serve, connect: Connect
) -> None:
    address = await serve(head_seconds=SHORT)
    slow = connect(address)
    await slow.send(b"GET / HTTP/1.1\r\nX: ")
    closed = asyncio.create_task(slow.rest())

    with suppress(ConnectionError):
        while not closed.done():  # each byte would begin uvicorn's own patience anew
            await slow.send(b"a")
            await asyncio.wait({closed}, timeout=0.02)

    assert await closed == b""


async def test_a_connection_without_a_further_request_is_let_go(
    serve: Serve, connect: Connect
) -> None:
    address = await serve(head_seconds=SHORT)
    client = connect(address)
    await client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")

    assert (await client.rest()).startswith(b"HTTP/1.1 200 OK")


async def test_a_body_that_does_not_come_is_a_408(serve: Serve, connect: Connect) -> None:
    address = await serve(head_seconds=NEVER, body_seconds=SHORT)
    slow = connect(address)
    await slow.send(HEAD + b"Content-Length: 50\r\n\r\n{")

    status, detail = refusal(await slow.rest())

    assert status == 408
    assert detail.startswith("1 bytes of the request body have come")


async def test_a_body_needs_a_pace(serve: Serve, connect: Connect) -> None:
    address = await serve(head_seconds=NEVER, body_seconds=SHORT, pace=1000)
    slow = connect(address)
    answered = asyncio.create_task(slow.rest())
    await slow.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")

    with suppress(ConnectionError):
        while not answered.done():
            await slow.send(b"1\r\n \r\n")
            await asyncio.wait({answered}, timeout=0.02)

    assert refusal(await answered)[0] == 408


async def test_a_body_that_nobody_reads_is_not_waited_for(serve: Serve, connect: Connect) -> None:
    address = await serve(head_seconds=SHORT)
    slow = connect(address)

    await slow.send(b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\n{")

    assert (await slow.rest()).startswith(b"HTTP/1.1 200 OK")


async def test_waiting_for_a_run_is_not_being_slow(
    serve: Serve, connect: Connect, stages: Any
) -> None:
    address = await serve(head_seconds=SHORT, body_seconds=SHORT, stalled_seconds=SHORT)
    waiting = connect(address)
    await waiting.send(b"POST /workflows/waiting/run HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await stages.reached.wait()
    silent = connect(address)
    assert await silent.rest() == b""  # by now, the limits have passed for the other too

    stages.gate.set()

    assert (await waiting.read()).startswith(b"HTTP/1.1 200 OK")


# Slow readers

ASK = b"GET /configs/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
LARGE = 20_000_000  #: bytes of a reply, more than systems hold on their way


@pytest.fixture
async def large(server: Server) -> None:
    """Configs that are large together."""
    for number in range(5):
        data = {"x": "x" * (LARGE // 5)}
        document = {"metadata": {"name": f"large-{number}"}, "spec": {"data": data}}
        await server.engine.create(server.engine.kinds["config"], document)


@pytest.mark.usefixtures("large")
async def test_whoever_takes_nothing_of_a_reply_is_cut_off(serve: Serve, connect: Connect) -> None:
    address = await serve(stalled_seconds=SHORT, head_seconds=NEVER)
    reader = connect(address, buffer=4096)
    await reader.send(ASK)

    await reader.cut_off()

    assert len(await reader.rest()) < LARGE


@pytest.mark.usefixtures("large")
async def test_whoever_takes_some_of_it_gets_all(serve: Serve, connect: Connect) -> None:
    clock = asyncio.get_running_loop().time
    limit = 3 * SHORT  # which the server must not seem to miss on a busy machine
    address = await serve(stalled_seconds=limit, pace=1)
    reader = connect(address, buffer=4096)
    begun = clock()
    await reader.send(ASK)

    size = pauses = 0
    while part := await reader.read(1024):
        size += len(part)
        if size > (pauses + 1) * LARGE / 20:
            pauses += 1
            await asyncio.sleep(limit / 6)  # a slow reader, and no stalled one

    assert size > LARGE
    assert clock() - begun > 2 * limit


async def test_a_stream_that_nobody_reads_is_cut_off(
    serve: Serve, connect: Connect, server: Server
) -> None:
    for _ in range(count := LARGE // 50_000):
        await server.storage.append_event(Event(type="a.b", data={"x": "x" * 50_000}))
    address = await serve(stalled_seconds=SHORT)
    reader = connect(address, buffer=4096)
    await reader.send(
        b"GET /events?after=0 HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"
    )

    await reader.cut_off()

    assert (await reader.rest()).count(b"event: a.b") < count


async def test_a_silent_listener_that_is_there_may_stay(
    serve: Serve, connect: Connect, server: Server
) -> None:
    address = await serve(head_seconds=SHORT, stalled_seconds=SHORT)
    listener = connect(address)
    await listener.send(
        b"GET /events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"
    )
    assert b"listening" in await listener.until(b"listening")
    assert await connect(address).rest() == b""  # by now, the limits have passed

    await server.engine.create(
        server.engine.kinds["config"], {"metadata": {"name": "new"}, "spec": {"data": {}}}
    )

    assert await listener.until(b"resource.created")


async def test_the_system_asks_whether_silent_clients_are_still_there(
    server: Server, serve: Serve
) -> None:
    address = await serve(stalled_seconds=3)
    async with httpx.AsyncClient(base_url=address) as client:
        await client.get("/")
        service = server.services["rest"]
        assert isinstance(service, RestService)
        (connection,) = service._uvicorn.server_state.connections
        taken = connection.transport.get_extra_info("socket")

        assert taken.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        for option, value in (("TCP_KEEPIDLE", 3), ("TCP_USER_TIMEOUT", 3000)):
            if number := getattr(socket, option, None):  # not every system has them
                assert taken.getsockopt(socket.IPPROTO_TCP, number) == value


# Many


@pytest.fixture
def small(overrides: list[str]) -> None:
    overrides.append("rpc.api.max_connections=3")


async def test_more_connections_than_allowed_are_told_so(
    small: None, serve: Serve, connect: Connect
) -> None:
    address = await serve()
    first = [connect(address) for _ in range(3)]
    for client in first:
        await client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert await client.read()

    status, detail = refusal(await connect(address).rest())
    first[0].socket.close()

    assert (status, "rpc.api.max_connections" in detail) == (503, True)


# Heads


async def test_a_long_head_is_refused(serve: Serve, connect: Connect) -> None:
    address = await serve(head=5000)
    client = connect(address)

    await client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 10_000)

    assert refusal(await client.rest())[0] in (400, 431)  # as the parser has it


async def test_what_is_no_http_is_refused(serve: Serve, connect: Connect) -> None:
    address = await serve()
    client = connect(address)

    await client.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n")

    assert refusal(await client.rest())[0] == 400


# How they are set


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"head_secs": 1}, r"services\.rest\.head_secs means nothing; there are: head, head_sec"),
        ({"pace": 0}, r"services\.rest\.pace is 0; it must be above 0"),
        ({"pace": float("nan")}, "must be above 0"),
        ({"body_seconds": "soon"}, r"services\.rest\.body_seconds is 'soon'"),
        ({"body_seconds": True}, "must be above 0"),
    ],
)
def test_a_limit_that_cannot_be_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        Limits.of(Api(), options)
