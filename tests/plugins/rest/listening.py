"""Reads a stream of server-sent events, as the HTML standard says, one message at a time."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

STREAM = {"Accept": "text/event-stream"}


@dataclass
class Message:
    """One message."""

    event: str
    id: str | None
    data: Any


@dataclass
class Listener:
    """The messages of a stream.

    :param last_id: of the last message, or of what stood before the first
    """

    lines: AsyncIterator[str]
    response: httpx.Response
    last_id: str | None = None
    fields: dict[str, str] = field(default_factory=dict)

    async def next(self) -> Message:
        """Return the next message.

        :raises StopAsyncIteration: there is none, because the stream has ended
        """
        async for line in self.lines:
            name, _, value = line.partition(": ")
            if line == "" and (message := self._complete()):
                return message
            if name:
                self.fields[name] = value
        raise StopAsyncIteration

    def _complete(self) -> Message | None:
        fields, self.fields = self.fields, {}
        self.last_id = fields.get("id", self.last_id)
        if "data" not in fields:
            return None
        return Message(fields["event"], fields.get("id"), json.loads(fields["data"]))

    async def open(self) -> None:
        """Wait until the server says where the listener is."""
        async for line in self.lines:
            if line.startswith("id: "):
                self.last_id = line.removeprefix("id: ")
                return

    async def all(self) -> list[Message]:
        """Return the messages until the stream ends."""
        found = []
        try:
            while True:
                found.append(await self.next())
        except StopAsyncIteration:
            return found

    async def until(self, event: str) -> list[Message]:
        """Return the messages up to the first with that name."""
        found = [await self.next()]
        while not found[-1].event.endswith(event):
            found.append(await self.next())
        return found


@asynccontextmanager
async def listening(
    client: httpx.AsyncClient, path: str, *, after: str | None = None, **headers: str
) -> AsyncIterator[Listener]:
    """Open a stream, and wait until the server has noticed.

    :param after: the id of the last message that came before
    """
    resumed = {} if after is None else {"Last-Event-ID": after}
    async with client.stream("GET", path, headers=STREAM | resumed | headers) as response:
        assert response.status_code == 200, await response.aread()
        assert response.headers["content-type"].startswith("text/event-stream")
        made = Listener(response.aiter_lines(), response)
        await made.open()
        yield made
