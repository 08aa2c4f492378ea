"""Server-sent events, as the HTML standard has them: messages that a reply goes on with."""

from __future__ import annotations

import re
from contextlib import aclosing
from typing import TYPE_CHECKING

from starlette.responses import StreamingResponse

from flowdapt_rest.bodies import MalformedHeader

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.requests import Request
    from starlette.types import Send


MEDIA_TYPE = "text/event-stream"
ALIVE_SECONDS = 15.0  #: of silence until a comment shows that the connection is alive
ALIVE = b": \n\n"


def asked_for(request: Request) -> bool:
    """Tell whether a client wants a stream where there is one."""
    return request.method == "GET" and MEDIA_TYPE in request.headers.get("accept", "")


def message(data: bytes, *, event: str, id: int | None = None) -> bytes:  # noqa: A002 - its name
    """Return a message.

    :param data: one line, such as JSON without white space
    :param event: what names its kind
    :param id: where the client is once it has it; without one, it is where it was
    """
    begin = b"" if id is None else b"id: %d\n" % id
    return begin + b"event: %s\ndata: %s\n\n" % (event.encode(), data)


def position(id: int) -> bytes:  # noqa: A002
    """Return what tells a client where it is; no message, so no handler is called for it."""
    return b": listening\nid: %d\n\n" % id


def gap(after: int, before: int) -> bytes:
    """Return what tells a client that events between two positions are not there any more."""
    return message(b'{"after":%d,"before":%d}' % (after, before), event="gap")


def resumed(request: Request) -> int | None:
    """Return the position that a client comes back to, if it does.

    :raises MalformedHeader: it is no position
    """
    given = request.headers.get("last-event-id")
    if not given:
        return None
    if not re.fullmatch(r"[0-9]{1,18}", given):
        raise MalformedHeader("Last-Event-ID", given, "the `id` of a message that came from here")
    return int(given)


class EventStream(StreamingResponse):
    """A reply that goes on until its messages end, or the client leaves.

    :param messages: bytes of messages, which are sent as they come
    """

    media_type = MEDIA_TYPE

    def __init__(self, messages: AsyncGenerator[bytes, None]) -> None:
        self.messages = messages
        # Proxies are told not to hold back what is small.
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(messages, headers=headers)

    async def stream_response(self, send: Send) -> None:
        """Send all messages; whatever ends that, ends them too."""
        async with aclosing(self.messages):
            await super().stream_response(send)
