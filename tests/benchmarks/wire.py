"""A client of HTTP that costs next to nothing, so that what is measured is the server."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Answer:
    """What a server answered."""

    status: int
    body: bytes

    def json(self) -> Any:
        """Return the body as plain data.

        :raises RuntimeError: the answer is a refusal
        """
        if self.status >= 400:
            raise RuntimeError(f"refused with {self.status}: {self.body[:500]!r}")
        return json.loads(self.body)


class Connection:
    """One connection, which is kept open; one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, address: str) -> Self:
        """Return a connection to a server.

        :param address: such as ``http://127.0.0.1:8080``
        """
        parts = urlsplit(address)
        return cls(*await asyncio.open_connection(parts.hostname, parts.port))

    async def send(self, method: str, path: str, *, body: Any = None, **headers: str) -> None:
        """Send a request.

        :param body: plain data, sent as JSON
        """
        content = b"" if body is None else json.dumps(body).encode()
        lines = [f"{method} {path} HTTP/1.1", "host: localhost", f"content-length: {len(content)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.writer.write("\r\n".join([*lines, "", ""]).encode() + content)
        await self.writer.drain()

    async def head(self) -> tuple[int, dict[str, str]]:
        """Read the status and the headers of an answer."""
        first, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines if line)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        return int(first.split()[1]), headers

    async def ask(self, method: str, path: str, *, body: Any = None, **headers: str) -> Answer:
        """Send a request and read the whole answer."""
        await self.send(method, path, body=body, **headers)
        status, found = await self.head()
        if "content-length" in found:
            return Answer(status, await self.reader.readexactly(int(found["content-length"])))
        if found.get("transfer-encoding") != "chunked":
            return Answer(status, b"")
        pieces = []
        while size := int(await self.reader.readuntil(b"\r\n"), 16):
            pieces.append(await self.reader.readexactly(size))
            await self.reader.readexactly(2)
        await self.reader.readexactly(2)
        return Answer(status, b"".join(pieces))

    def close(self) -> None:
        """Close the connection."""
        self.writer.close()
