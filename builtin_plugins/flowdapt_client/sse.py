"""Reads server-sent events, as the WHATWG's HTML standard has them, from chunks of any size.

A library would do as well if it were older: the usual one for httpx calls itself beta, needed three
years to leave alone what only Python takes for the end of a line, and connects no second time.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass

_LINE_END = re.compile(r"\r\n|\n|\r")  # no other; str.splitlines() knows several more
_MOST_RETRY = 12  # digits of a number of milliseconds


@dataclass(frozen=True, slots=True)
class Message:
    """What a server sent.

    :param id: the last one that was sent with this or an earlier message; may be empty
    """

    event: str
    data: str
    id: str = ""


class Parser:
    """Turns the bytes of one stream into messages.

    :param last_id: of an earlier stream, which this one goes on with
    """

    def __init__(self, last_id: str = "") -> None:
        #: where the stream is: what to send in order to go on from here
        self.last_id = self._id = last_id
        #: seconds to wait before connecting again, where the server says so
        self.retry: float | None = None
        # A byte order mark at the very beginning is no part of the text.
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
        self._line: list[str] = []
        self._after_cr = False
        self._event, self._data = "", list[str]()

    def feed(self, chunk: bytes) -> Iterator[Message]:
        """Yield the messages that a chunk completes."""
        text = self._decoder.decode(chunk)
        if not text:
            return
        if self._after_cr:  # the end of that line may have been cut in two
            text = text.removeprefix("\n")
        self._after_cr = text.endswith("\r") or (not text and self._after_cr)
        first, *others = _LINE_END.split(text)
        self._line.append(first)
        for begun in others:
            yield from self._take("".join(self._line))
            self._line = [begun]

    def _take(self, line: str) -> Iterator[Message]:
        if not line:
            self.last_id = self._id  # not before: what was cut off has to come again
            if self._data:
                yield Message(self._event or "message", "\n".join(self._data), self.last_id)
            self._event, self._data = "", []
            return
        name, _, value = line.partition(":")  # a comment has an empty name
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._event = value
        elif name == "id" and "\0" not in value:
            self._id = value
        elif name == "retry" and re.fullmatch(rf"[0-9]{{1,{_MOST_RETRY}}}", value):
            self.retry = int(value) / 1000
