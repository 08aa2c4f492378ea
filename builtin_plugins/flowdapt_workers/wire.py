"""Messages between the server and its workers: a length of 8 bytes, and a pickled tuple.

Both ends are ours and share the user's machine and account, so pickle is safe here. What users made
travels inside as opaque bytes.
"""

from __future__ import annotations

import asyncio
import pickle
import select
import signal
import socket
import struct
from collections.abc import Callable
from typing import Any

LENGTH = struct.Struct("<Q")  #: more than 4 GiB may go to a cluster, such as an input
_RECEIVED_AT_ONCE = 1 << 18  #: bytes

Message = tuple[Any, ...]

LISTEN = signal.SIGURG  #: has a worker read messages while it computes; else without effect

UP: Message = ("up",)  #: the first thing that a worker says


def encode(message: Message) -> bytes:
    """Return a message as it goes over the wire."""
    body = pickle.dumps(message, 5)
    return LENGTH.pack(len(body)) + body


class Channel(asyncio.Protocol):
    """The server's end of the connection to one process, within the event loop.

    :param received: called with each message
    :param lost: called once, when the other end is gone
    """

    def __init__(self, received: Callable[[Message], None], lost: Callable[[], None]) -> None:
        self._received, self._lost = received, lost
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def over(
        cls, end: socket.socket, received: Callable[[Message], None], lost: Callable[[], None]
    ) -> Channel:
        """Return a channel over one end of a socket pair, which it closes in the end."""
        loop = asyncio.get_running_loop()
        _, channel = await loop.create_connection(lambda: cls(received, lost), sock=end)
        return channel

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - what sockets have
        transport.set_write_buffer_limits(high=1 << 26)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        buffer = self._buffer
        buffer += data
        start, end = 0, len(buffer)
        while end - start >= LENGTH.size:
            (length,) = LENGTH.unpack_from(buffer, start)
            stop = start + LENGTH.size + length
            if stop > end:
                break
            message = pickle.loads(memoryview(buffer)[start + LENGTH.size : stop])  # noqa: S301
            start = stop
            self._received(message)
        if start:
            del buffer[:start]

    def connection_lost(self, error: Exception | None) -> None:
        """Called by asyncio."""
        del error
        self._transport = None
        self._lost()

    def send(self, message: Message) -> None:
        """Send a message; nothing happens where the other end is gone."""
        if self._transport is not None:
            self._transport.write(encode(message))

    def close(self) -> None:
        """Send what is left and close."""
        if self._transport is not None:
            self._transport.close()


class Pipe:
    """A worker's end of the connection: blocking, for one reading thread.

    :param end: connected to the server
    """

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._buffer = bytearray()
        self._poll = select.poll()
        self._poll.register(end, select.POLLIN)

    def receive(self) -> Message | None:
        """Wait for the next message; ``None`` once the server is gone."""
        return self._receive(0)

    def received(self) -> Message | None:
        """Return the next message that is there already, or has begun to come."""
        try:
            return self._receive(socket.MSG_DONTWAIT)
        except BlockingIOError:
            return self._receive(0) if self._buffer else None

    def wait(self) -> bool:
        """Wait until there is more to be received; tell whether there is, or the server is gone."""
        self._poll.poll()
        try:
            return bool(self._end.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        except BlockingIOError:  # another thread took it
            return True

    def _receive(self, flags: int) -> Message | None:
        while True:
            if len(self._buffer) >= LENGTH.size:
                (length,) = LENGTH.unpack_from(self._buffer)
                stop = LENGTH.size + length
                if len(self._buffer) >= stop:
                    message: Message = pickle.loads(self._buffer[LENGTH.size : stop])  # noqa: S301
                    del self._buffer[:stop]
                    return message
            data = self._end.recv(_RECEIVED_AT_ONCE, flags)
            if not data:
                return None
            self._buffer += data

    def send(self, message: Message) -> None:
        """Send a message, waiting while the server is behind."""
        self._end.sendall(encode(message))
