"""The actor of a server: what processes of the cluster reach it through, since they know no other.

It runs on the server's own machine, takes no processor, and ends with the gateway.
"""

from __future__ import annotations

import asyncio

ROOM_BYTES = 64 * 2**20  #: of messages that the gateway has not taken; beyond it, senders wait


class ServerActor:
    """Holds messages of workers until the gateway takes them, which it does at once."""

    def __init__(self) -> None:
        self._messages: list[bytes] = []
        self._bytes = 0
        self._some, self._room = asyncio.Event(), asyncio.Event()
        self._room.set()

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
