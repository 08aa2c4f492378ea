"""Connections that are open, none of them for ever: what uvicorn leaves to a proxy before it."""

from __future__ import annotations

import logging
import resource
from contextlib import suppress
from http import HTTPStatus
from socket import SO_LINGER, SOL_SOCKET
from struct import pack
from typing import TYPE_CHECKING, Any

from flowdapt_rest.errors import reply

if TYPE_CHECKING:
    from asyncio import Transport
    from collections.abc import Iterable

    from flowdapt_rest.limits import Limits

logger = logging.getLogger(__name__)

SPARE_FILES = 512  #: descriptors for everything but connections


def bounded(protocol: type[Any], limits: Limits) -> type[Any]:
    """Return a protocol of uvicorn's, the one of h11 or the one of httptools, with limits."""
    # h11 has a limit of its own, and no callbacks.
    kind = _Counted if hasattr(protocol, "on_headers_complete") else _Bounded
    return type(f"Bounded{protocol.__name__}", (kind, protocol), {"limits": limits})


def close_late(connections: Iterable[Any]) -> None:
    """Close the connections whose clients let the server wait for too long.

    uvicorn's own limit is on pauses after a reply: it forgets whoever sends nothing at first, or
    then a byte now and then, and whoever takes nothing of what is sent.
    """
    for connection in tuple(connections):
        if connection.stalled():
            _reset(connection.transport)
        elif connection.late and not connection.transport.is_closing():
            connection.transport.close()


def _reset(transport: Any) -> None:
    """End a connection, and forget what is still to be sent on it, here and in the system."""
    transport.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, pack("ii", 1, 0))
    transport.abort()


def allow_files(connections: int) -> int:
    """Have the system allow so many connections; return how many there is room for.

    Not more than that: processes that are started from here inherit it, and some programs close
    each descriptor that they might have.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + SPARE_FILES
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):  # some systems allow less than they say
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    if soft == resource.RLIM_INFINITY or soft >= connections + SPARE_FILES:
        return connections
    room = max(1, soft - SPARE_FILES, soft // 2)
    logger.warning("%d files may be open, so there is room for %d connections", soft, room)
    return min(connections, room)


class _Bounded:
    """What is added to a protocol; the rest of it is uvicorn's."""

    limits: Limits
    _awaited_since: float
    _owed, _owed_since = 0, 0.0  # bytes that are not taken yet, as last measured
    loop: Any
    transport: Any
    connections: set[Any]
    cycle: Any
    flow: Any

    def connection_made(self, transport: Transport) -> None:
        """Accept a connection, or refuse it where there are too many."""
        self._awaited_since = self.loop.time()
        super().connection_made(transport)  # type: ignore[misc]
        if len(self.connections) > self.limits.connections:
            self._refuse(503, "there are as many connections as rpc.api.max_connections allows")

    def on_response_complete(self) -> None:
        """Begin to wait for the next request."""
        self._awaited_since = self.loop.time()
        super().on_response_complete()  # type: ignore[misc]

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, in the form of all errors."""
        del msg
        self._refuse(400, f"this is no HTTP, or its head is over {self.limits.head} bytes long")

    @property
    def late(self) -> bool:
        """Whether the head of a request has been awaited for too long."""
        return self._answered and self.loop.time() - self._awaited_since > self.limits.head_seconds

    def stalled(self) -> bool:
        """Tell whether the client takes too little of what is sent; to be asked now and then."""
        owed: int = self.transport.get_write_buffer_size()
        now: float = self.loop.time()
        # While more may be written, how much is owed does not tell how much was taken.
        if not (self._answered or self.flow.write_paused) or owed > self._owed:
            self._owed, self._owed_since = owed, now
        elif (passed := now - self._owed_since) > self.limits.stalled_seconds:
            if owed > max(0.0, self._owed - passed * self.limits.pace):
                return True
            self._owed, self._owed_since = owed, now
        return False

    def resume_writing(self) -> None:
        """Go on with a reply of which enough was taken."""
        self._owed = 0
        super().resume_writing()  # type: ignore[misc]

    @property
    def _answered(self) -> bool:
        return self.cycle is None or bool(self.cycle.response_complete)

    def _refuse(self, status: int, detail: str) -> None:
        answering = self.cycle and self.cycle.response_started and not self.cycle.response_complete
        if not answering:  # or it would stand in the middle of a reply
            self.transport.write(_written(status, detail))
        self.transport.close()


class _Counted(_Bounded):
    """Limits what a parser keeps that has no limit."""

    _kept = 0  #: bytes since the last head or part of a body that was understood

    def data_received(self, data: bytes) -> None:
        """Take what has come."""
        self._kept += len(data)
        super().data_received(data)  # type: ignore[misc]
        if self._kept > self.limits.head and not self.transport.is_closing():
            self._refuse(431, f"the head of a request may have {self.limits.head} bytes")

    def on_headers_complete(self) -> None:
        """Begin a request."""
        self._kept = 0
        super().on_headers_complete()  # type: ignore[misc]

    def on_body(self, body: bytes) -> None:
        """Take a part of a body."""
        self._kept = 0
        super().on_body(body)  # type: ignore[misc]

    def on_message_complete(self) -> None:
        """End a request."""
        self._kept = 0
        super().on_message_complete()  # type: ignore[misc]


def _written(status: int, detail: str) -> bytes:
    """Return a reply as it goes over the wire."""
    response = reply(status, detail, headers={"Connection": "close"})
    head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n".encode()
    headers = b"".join(name + b": " + value + b"\r\n" for name, value in response.raw_headers)
    return head + headers + b"\r\n" + bytes(response.body)
