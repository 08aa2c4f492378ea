"""Hears what a server tells of, and connects again where the connection is lost."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

from flowdapt.errors import FlowdaptError
from flowdapt_client.errors import NoServer, NoStream, Refused, StreamLost
from flowdapt_client.sse import Message, Parser
from flowdapt_client.steps import Call, Hear, Listen, Pause, Request

FIRST_SECONDS = 0.1  #: until it is tried again; then twice as long, and so on
MOST_SECONDS = 10.0  #: between two attempts
AWAY_SECONDS = 60.0  #: how long a server may be away in all, until that is an error

# Neither is like a message that a server can send: those have a name.
OPENED = Message("", "opened")  #: the stream was opened, or opened anew
OVER = Message("", "over")  #: the server says that there is no more

_SERVERS_FAULT = 500  #: statuses of HTTP from here on may pass


class Hearing:
    """A stream of messages that outlives its connections.

    Each time it goes on behind the last message that had an id.

    :param after: as if a message with this id had been the last
    :param away: seconds; ``None`` for as long as it takes
    """

    def __init__(
        self, request: Request, *, after: str = "", away: float | None = AWAY_SECONDS
    ) -> None:
        self._request, self._away = request, away
        self._last_id = after
        self._parser = Parser()
        self._found: deque[Message] = deque()
        self._connected = self._known = False
        self._pause, self._missed = FIRST_SECONDS, 0.0

    def message(self) -> Call[Message]:
        """Return the next message, or :data:`OPENED`, or :data:`OVER`.

        :raises NoStream: the server has no such stream
        :raises NoServer: it was there, and is away for too long; or it never was
        :raises Refused: it refuses
        """
        while not self._found:
            if not self._connected:
                return (yield from self._connect())
            try:
                chunk = yield Hear()
            except NoServer as error:
                yield from self._lose(error)
                continue
            if chunk is None:
                yield from self._lose(None)
            else:
                self._pause, self._missed = self._parser.retry or FIRST_SECONDS, 0.0
                self._found.extend(self._parser.feed(chunk))
        message = self._found.popleft()
        self._last_id = message.id or self._last_id
        return message

    def _connect(self) -> Call[Message]:
        headers = {**self._request.headers}
        if self._last_id:
            headers["Last-Event-ID"] = self._last_id
        while True:
            try:
                more = yield Listen(replace(self._request, headers=headers))
            except (NoServer, Refused, NoStream) as error:
                if isinstance(error, Refused) and error.no_such_route:
                    raise NoStream(self._request.path) from None
                may_pass = isinstance(error, NoServer) or (
                    isinstance(error, Refused) and error.status >= _SERVERS_FAULT
                )
                if not self._known or not may_pass:
                    raise
                yield from self._lose(error)
                continue
            self._parser = Parser()
            self._parser.last_id = self._last_id
            self._connected = self._known = bool(more)
            return OPENED if more else OVER

    def _lose(self, error: FlowdaptError | None) -> Call[None]:
        """Wait until the next attempt.

        :param error: what went wrong; nothing where the server closed the stream
        :raises FlowdaptError: there were enough
        """
        self._connected = False
        if self._away is not None and self._missed >= self._away:
            raise error or StreamLost(self._request.path)
        yield Pause(self._pause)
        self._missed += self._pause
        self._pause = min(MOST_SECONDS, self._pause * 2)
