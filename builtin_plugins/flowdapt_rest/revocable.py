"""Replies that go on for as long as their caller's token counts."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from flowdapt.errors import StorageError

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Send

    from flowdapt_rest.tokens import Token, Tokens

LOOK_SECONDS = 5.0  #: how often it is looked whether the token of an open stream still counts


class Revocable:
    """The two ends of a request, whose stream ends soon after its token was revoked or expired.

    A stream waits for its client to leave. It is told so where the token is gone.
    """

    def __init__(self, receive: Receive, send: Send, *, tokens: Tokens, token: Token) -> None:
        self._receive, self._send = receive, send
        self._tokens, self._token = tokens, token
        self._begun = self._over = False

    async def receive(self) -> Message:
        """Return what comes from the client, or that it has left."""
        coming = asyncio.ensure_future(self._receive())
        try:
            while not (await asyncio.wait({coming}, timeout=LOOK_SECONDS))[0]:
                with suppress(StorageError):  # which is no reason to end all streams
                    self._over = not await self._tokens.still_counts(self._token)
                if self._over:
                    return {"type": "http.disconnect"}
            return coming.result()
        finally:
            coming.cancel()

    async def send(self, message: Message) -> None:
        """Send a part of the reply."""
        self._begun = message["type"] == "http.response.start" or message.get("more_body", False)
        await self._send(message)

    async def finish(self) -> None:
        """End the reply if it was cut off."""
        if self._over and self._begun:
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})
