"""Hears what a server tells of, and connects again where the connection is lost."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from time import monotonic

from flowdapt.errors import FlowdaptError
from flowdapt_client.errors import NoServer, Refused, StreamLost
from flowdapt_client.reading import read_text
from flowdapt_client.records import Gap
from flowdapt_client.sse import Message, Parser
from flowdapt_client.steps import Call, Hear, Listen, Pause, Request

FIRST_SECONDS = 0.1  #: until it is tried again; then twice as long, and so on
MOST_SECONDS = 10.0  #: between two attempts
AWAY_SECONDS = 60.0  #: how long a server may be away, until that is an error

GAP = "gap"  #: the name of a message that tells what the server does not keep any more
OPENED = Message("", "opened")  #: like none that a server can send: those have a name

_MAY_PASS = 500  #: statuses of HTTP from here on are the server's trouble, such as a stop


class Hearing:
    """A stream of messages that outlives its connections.

    Each time it goes on from where the last one was, so no message is missed and none comes twice.

    :param after: as if a message with this id had been the last
    :param away: seconds; ``None`` for as long as it takes
    :param told: called when the connection is lost, and each time that it cannot be made anew
    :param missed: called with what the server does not keep any more
    """

    def __init__(
        self,
        request: Request,
        *,
        after: str = "",
        away: float | None = AWAY_SECONDS,
        told: Callable[[], object] | None = None,
        missed: Callable[[Gap], object] | None = None,
    ) -> None:
        self._request, self._away = request, away
        self._told, self._missed = told, missed
        self._parser = Parser(after)
        self._found: deque[Message] = deque()
        self._connected = self._greeted = self._known = False
        self._pause, self._lost_at = FIRST_SECONDS, 0.0

    def message(self) -> Call[Message]:
        """Return the next message, or :data:`OPENED` once the server knows of this listener.

        :raises NoServer: it was there, and is away for too long; or it never was
        :raises Refused: it refuses
        """
        while (message := (yield from self._next())).event == GAP:
            if self._missed:
                self._missed(read_text(Gap, message.data))
        return message

    def _next(self) -> Call[Message]:
        while not self._found:
            if not self._connected:
                yield from self._connect()
            try:
                chunk = yield Hear()
            except NoServer as error:
                yield from self._lose(error)
                continue
            if chunk is None:
                yield from self._lose(None)
            else:
                self._take(chunk)
        return self._found.popleft()

    def _take(self, chunk: bytes) -> None:
        # The head of a reply is sent before the server begins to listen for it, the body after.
        if not self._greeted:
            self._found.append(OPENED)
        self._greeted, self._lost_at = True, 0.0
        self._found.extend(self._parser.feed(chunk))
        self._pause = self._parser.retry or FIRST_SECONDS

    def _connect(self) -> Call[None]:
        last_id = self._parser.last_id
        headers = {**self._request.headers, **({"Last-Event-ID": last_id} if last_id else {})}
        while not self._connected:
            try:
                yield Listen(replace(self._request, headers=headers))
            except (NoServer, Refused) as error:
                if not self._known or (isinstance(error, Refused) and error.status < _MAY_PASS):
                    raise
                yield from self._lose(error)
                continue
            self._parser = Parser(last_id)
            self._connected = self._known = True

    def lost(self, error: NoServer | Refused) -> Call[None]:
        """Go on as if the connection was lost, where the server failed at something else.

        :raises FlowdaptError: that was no trouble that may pass, or there was enough of it
        """
        if isinstance(error, Refused) and error.status < _MAY_PASS:
            raise error
        yield from self._lose(error)

    def _lose(self, error: FlowdaptError | None) -> Call[None]:
        """Wait until the next attempt.

        :param error: what went wrong; nothing where the server closed the stream
        :raises FlowdaptError: there were enough
        """
        self._connected = self._greeted = False
        self._lost_at = self._lost_at or monotonic()
        pause = self._pause
        if self._away is not None:
            left = self._lost_at + self._away - monotonic()
            if left <= 0:
                raise error or StreamLost(self._request.path)
            pause = min(pause, left)
        if self._told:
            self._told()
        yield Pause(pause)
        self._pause = min(MOST_SECONDS, self._pause * 2)
