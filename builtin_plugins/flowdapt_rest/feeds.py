"""What callers are told of the items of runs, each at a pace of their own."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakSet
from zlib import crc32

import orjson

from flowdapt.events import ITEM_YIELDED, Event

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from uuid import UUID

    from flowdapt.events import Events

BEHIND_BYTES = 8 * 1024 * 1024  #: of items that may wait for one caller; who is slower loses them
KEPT_BYTES = 1024 * 1024  #: of items that are kept for who asks for the same run once more
PIECE_BYTES = 64 * 1024  #: of messages that are sent at once

Message = tuple[str, bytes]  #: the name of its kind, and JSON


class Feed:
    """What one caller is to be told of one run.

    Items wait here only while they are not sent, and only so many. One that does not follow upon
    the one before is left out, with all behind it: whoever begins late, or misses one, has the rest
    of the run's result instead, once that is there.

    :param most: bytes of items that may wait
    :ivar count: how many items there are so far: told, or about to be
    :ivar bytes: the sum of their lengths
    :ivar behind: the caller is too slow, and is told no more
    """

    def __init__(self, most: int | None = None) -> None:
        self.most = BEHIND_BYTES if most is None else most
        self.count = self.bytes = 0
        self.behind = False
        self.woken = asyncio.Event()
        self._waiting: deque[Message] = deque()
        self._waiting_bytes = 0
        self._sum = 0  # of a list as JSON text, as far as these are its items

    def take(self, number: int, text: bytes) -> None:
        """Take an item; those from 0 on replace what was there before."""
        if number == 0 and self.count:
            self.restart()
        if number != self.count or self.behind:
            return
        if self._waiting and self._waiting_bytes + len(text) > self.most:
            self.behind = True
        else:
            self.add(text)
        self.woken.set()

    def add(self, text: bytes) -> None:
        """Have an item told."""
        self._sum = crc32(text, crc32(b"," if self.count else b"[", self._sum))
        self.count += 1
        self.bytes += len(text)
        self._waiting.append(("item", text))
        self._waiting_bytes += len(text)

    def restart(self) -> None:
        """Have the caller forget all items so far."""
        self._waiting.clear()
        self._waiting.append(("restart", b'{"items":%d}' % self.count))
        self.count = self.bytes = self._waiting_bytes = self._sum = 0

    def complete(self, result: bytes) -> None:
        """Have all items of a result told that were not, and these alone.

        :param result: of the run, which yields no more; as JSON text
        """
        if self.count and not self._begins(result):  # with those of another attempt
            self.restart()
        if not self.count or len(result) > self.bytes + self.count + 1:
            for item in _items(result)[self.count :]:
                self.add(item)

    def _begins(self, result: bytes) -> bool:
        """Tell whether a result is a list that begins with the items so far."""
        end = self.bytes + self.count  # with a bracket before, and commas between
        if result[end : end + 1] not in (b",", b"]"):
            return False
        return crc32(memoryview(result)[:end]) == self._sum

    def begin_with(self, other: Feed) -> None:
        """Take over the items of a feed that nobody has read from, if it has all so far."""
        if not other.behind:
            self.count, self.bytes, self._sum = other.count, other.bytes, other._sum
            self._waiting = deque(one for one in other._waiting if one[0] == "item")
            self._waiting_bytes = other._waiting_bytes

    def piece(self) -> list[Message]:
        """Return what may be sent at once now; nothing where there is nothing."""
        found: list[Message] = []
        size = 0
        while self._waiting and (not found or size + len(self._waiting[0][1]) <= PIECE_BYTES):
            found.append(self._waiting.popleft())
            size += len(found[-1][1])
        self._waiting_bytes = self._waiting_bytes - size if self._waiting else 0
        return found


class Feeds:
    """All feeds at present; the events of runs are heard only while there are some."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._of_run: dict[UUID, WeakSet[Feed]] = {}
        self._kept: dict[UUID, Feed] = {}
        self._hearing: AbstractContextManager[Any] | None = None

    def open(self, run: UUID) -> Feed:
        """Return a feed of a run, which may be yet to begin."""
        if self._hearing is None:
            self._hearing = self._events.listening(self._hear, ITEM_YIELDED)
            self._hearing.__enter__()
        feed = Feed()
        self._of_run.setdefault(run, WeakSet()).add(feed)
        return feed

    def keep(self, run: UUID, feed: Feed) -> None:
        """Keep the items of a run, from its beginning until :meth:`forget`, as far as they are few.

        :param feed: nobody has read from it yet
        """
        self._kept[run] = kept = Feed(KEPT_BYTES)
        kept.begin_with(feed)
        self._of_run[run].add(kept)

    def catch_up(self, run: UUID, feed: Feed) -> None:
        """Have a feed that is new begin with what is kept of its run."""
        if (kept := self._kept.get(run)) is not None:
            feed.begin_with(kept)

    def forget(self, run: UUID) -> None:
        """Keep nothing of a run any more."""
        if (kept := self._kept.pop(run, None)) is not None:
            self.close(run, kept)

    @contextmanager
    def opening(self, run: UUID) -> Iterator[Feed]:
        """Do what :meth:`open` does; the feed is closed where the run does not begin."""
        feed = self.open(run)
        try:
            yield feed
        except BaseException:
            self.close(run, feed)
            raise

    def close(self, run: UUID, feed: Feed) -> None:
        """Tell a feed no more. Harmless when it is closed."""
        feeds = self._of_run.get(run)
        if feeds is not None:
            feeds.discard(feed)
            if not feeds:
                del self._of_run[run]
        if not self._of_run and self._hearing is not None:
            self._hearing.__exit__(None, None, None)
            self._hearing = None

    def _hear(self, event: Event) -> None:
        if event.run is not None:
            for feed in tuple(self._of_run.get(event.run, ())):
                feed.take(event.data["number"], event.data["item"])


def _items(result: bytes) -> list[bytes]:
    """Return what a result has for items: the elements of a list; of all else, itself."""
    value = orjson.loads(result)
    return [orjson.dumps(one) for one in value] if isinstance(value, list) else [result]
