"""The live end of the event log, read once for everybody who listens."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flowdapt.events import RUN_FINISHED, STAGE_CHANGED, Event
from flowdapt.storage import EventQuery
from flowdapt_rest import sse
from flowdapt_rest.entries import Entry

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
    from uuid import UUID

    from flowdapt.events import Events
    from flowdapt.storage import Storage
    from flowdapt_rest.entries import Filter
    from flowdapt_rest.waits import Waits

logger = logging.getLogger(__name__)

TAIL_BYTES = 8 * 1024 * 1024  #: of events in memory; who is further behind reads the storage
PAGE = 100  #: events read from the storage at once
PIECE_BYTES = 64 * 1024  #: of messages that are sent at once, so that who is slow holds no more
PAUSE_SECONDS = 0.02  #: between two looks at the log, so that a burst is told at one go
LOOK_SECONDS = 1.0  #: how often the log is looked at though nothing is heard of: others write, too


@dataclass(eq=False, slots=True)
class Listener:
    """Somebody who listens, at a pace of their own.

    :param position: of the last event that was looked at for them
    :param told_at: when they were told something last, as the event loop's clock has it
    :param turn: of the news that they were told last; at first, they are told how things stand
    """

    wanted: Filter
    position: int = 0
    turn: int = 0
    told_at: float = field(default_factory=lambda: asyncio.get_running_loop().time())
    woken: asyncio.Event = field(default_factory=asyncio.Event)


_Stage = tuple["UUID | None", str | None]  # a stage of a run, whose state is of interest


class Hub:
    """Tells listeners what is kept, each event once and in order, and how stages move on.

    Nothing is queued for a listener: each has a position in the log, and one that is slow is
    behind. It loses nothing of what is kept, holds up nobody, and costs what one piece does.
    """

    def __init__(self, storage: Storage, events: Events, waits: Waits) -> None:
        self.storage, self.events, self.waits = storage, events, waits
        self._tail: deque[Entry] = deque()
        self._tail_bytes = 0
        self._end = 0  # of the log, as far as it was read; the tail ends there
        # How stages move on is not kept, and only the newest is of interest; it comes last here.
        self._turn = 0
        self._news: dict[_Stage, tuple[int, Entry]] = {}
        self._fresh: dict[_Stage, Event] = {}  # what came since the log was looked at
        self._listeners: dict[UUID | None, set[Listener]] = {}  # by the run that they want
        self._heard = asyncio.Event()
        self._reading: asyncio.Task[None] | None = None
        self._opening = asyncio.Lock()

    async def follow(self, wanted: Filter, after: int | None) -> AsyncGenerator[bytes, None]:
        """Yield messages, several at once where there are; nothing from time to time.

        The first that is yielded says where the listener is, also where nothing was told so far.

        :param after: a position; without one, only what happens from now on is told
        """
        listener = Listener(wanted)
        self._listeners.setdefault(wanted.run, set()).add(listener)
        clock = asyncio.get_running_loop().time
        try:
            end = await self._open()
            listener.position = end if after is None else min(after, end)
            with self.waits.told(listener.woken.set):
                yield sse.position(listener.position) + await self.gap(wanted, after)
                while not self.waits.over:
                    listener.woken.clear()
                    if told := await self._next(listener):
                        for piece in _pieces(told):
                            yield piece
                            listener.told_at = clock()
                    elif clock() - listener.told_at >= sse.ALIVE_SECONDS:
                        yield sse.ALIVE
                        listener.told_at = clock()
                    else:
                        await listener.woken.wait()
        finally:
            self._leave(listener)

    async def gap(self, wanted: Filter, after: int | None) -> bytes:
        """Return a message that tells what is not kept any more, or nothing.

        :param after: the position of somebody who was away; 0 asks for what is there, and nothing
            is missing from that
        """
        forgotten = await self.storage.forgotten_events() if after else {}
        newest = max((at for channel, at in forgotten.items() if wanted.covers(channel)), default=0)
        return sse.gap(after, newest + 1) if after and newest > after else b""

    async def _open(self) -> int:
        """Begin to read, if nobody listened so far; return the end of the log."""
        async with self._opening:
            if self._reading is None:
                self._end = await self.storage.last_event()
                self._heard.set()
                self._reading = asyncio.create_task(self._read(), name="rest-events")
        return await self.storage.last_event()

    def _leave(self, listener: Listener) -> None:
        run = listener.wanted.run
        self._listeners[run].discard(listener)
        if not self._listeners[run]:
            del self._listeners[run]
        if not self._listeners and self._reading is not None:  # nobody is left to read it for
            self._reading.cancel()
            self._reading = None
            self._tail.clear()
            self._news.clear()
            self._fresh.clear()
            self._tail_bytes = 0

    # What a listener is told -----------------------------------------------------------------

    async def _next(self, listener: Listener) -> list[bytes]:
        """Return the next messages, and move the listener on; none where there is nothing new."""
        told: list[bytes] = []
        while not told and listener.position < self._end:
            entries, position = await self._behind(listener)
            await asyncio.sleep(0)  # others have their turn
            told = [entry.message for entry in entries if listener.wanted.wants(entry)]
            listener.position = max(position, listener.position + 1)
        if not told and listener.turn < self._turn:
            told = self._newer(listener)
            listener.turn = self._turn
        return told

    async def _behind(self, listener: Listener) -> tuple[Iterable[Entry], int]:
        """Return events behind a listener's position, and how far that is."""
        first = self._tail[0].position if self._tail else self._end + 1
        if listener.position >= first - 1:
            newer: list[Entry] = []
            for entry in reversed(self._tail):
                if entry.position <= listener.position:
                    break
                newer.append(entry)
            return reversed(newer), self._end
        page = await self.storage.read_events(listener.wanted.query(listener.position, PAGE))
        # The storage may be ahead of the tail; what lies there comes from the tail in its turn.
        entries = (Entry.of(text, p) for p, text in page.entries.items() if p <= self._end)
        return list(entries), min(page.next, self._end)

    def _newer(self, listener: Listener) -> list[bytes]:
        newer: list[bytes] = []
        for turn, entry in reversed(self._news.values()):
            if turn <= listener.turn:
                break
            if listener.wanted.wants(entry):
                newer.append(entry.message)
        return newer[::-1]

    # What is read ----------------------------------------------------------------------------

    async def _read(self) -> None:
        """Read what is new and wake who wants it, until nobody listens."""
        with self.events.listening(self._hear):
            while True:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._heard.wait(), LOOK_SECONDS)
                self._heard.clear()
                self._wake_silent()
                try:
                    await self._look()
                except Exception:
                    logger.exception("events could not be read; listeners wait until they can")
                    await asyncio.sleep(LOOK_SECONDS)
                await asyncio.sleep(PAUSE_SECONDS)

    def _hear(self, event: Event) -> None:
        if event.type == STAGE_CHANGED and not event.kept:
            self._fresh[event.run, event.data["stage"]] = event
        if event.kept or self._fresh:
            self._heard.set()

    def _wake_silent(self) -> None:
        since = asyncio.get_running_loop().time() - sse.ALIVE_SECONDS
        for listeners in self._listeners.values():
            for listener in listeners:
                if listener.told_at <= since:
                    listener.woken.set()

    async def _look(self) -> None:
        # Taken before the log is read: what was kept before it was heard of is told before it.
        fresh, self._fresh = self._fresh, {}
        told: list[Entry] = []
        begin = self._end
        while True:
            page = await self.storage.read_events(EventQuery(after=self._end, limit=PAGE))
            for position, document in page.entries.items():
                entry = Entry.of(document, position)
                self._keep(entry)
                self._forget(entry, fresh)
                told.append(entry)
            if page.next <= self._end:
                break
            self._end = page.next
            await asyncio.sleep(0)
        if fresh:
            self._turn += 1
        for key, event in fresh.items():
            entry = Entry.of(event.text())
            self._news.pop(key, None)
            self._news[key] = self._turn, entry
            told.append(entry)
        if told:
            self._wake(told, begin)

    def _wake(self, told: Sequence[Entry], begin: int) -> None:
        """Wake who wants any of these; whoever was at ``begin`` and wants none is moved on."""
        for run in {None, *(entry.run for entry in told)}:
            for listener in self._listeners.get(run, ()):
                if any(listener.wanted.wants(entry) for entry in told):
                    listener.woken.set()
                elif listener.position == begin:
                    listener.position = self._end

    def _keep(self, entry: Entry) -> None:
        self._tail.append(entry)
        self._tail_bytes += len(entry.text)
        while self._tail_bytes > TAIL_BYTES:
            self._tail_bytes -= len(self._tail.popleft().text)

    def _forget(self, entry: Entry, fresh: dict[_Stage, Event]) -> None:
        """Forget how stages stood that have ended."""
        over: list[_Stage] = [(entry.run, entry.stage)]
        if entry.type == RUN_FINISHED:
            over = [key for key in (*self._news, *fresh) if key[0] == entry.run]
        for key in over:
            self._news.pop(key, None)
            fresh.pop(key, None)


def _pieces(messages: Iterable[bytes]) -> Iterator[bytes]:
    """Yield messages together, as long as that is not too much at once."""
    piece: list[bytes] = []
    size = 0
    for message in messages:
        if piece and size + len(message) > PIECE_BYTES:
            yield b"".join(piece)
            piece, size = [], 0
        piece.append(message)
        size += len(message)
    yield b"".join(piece)
