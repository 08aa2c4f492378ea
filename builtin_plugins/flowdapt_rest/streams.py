"""Replies that tell what a run yields, while it does."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any

from starlette.responses import StreamingResponse

from flowdapt.errors import FlowdaptError, ServerError
from flowdapt.runs import RunState
from flowdapt.texts import to_json
from flowdapt_rest import sse
from flowdapt_rest.bodies import AT_ONCE
from flowdapt_rest.feeds import BEHIND_BYTES, Feeds

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence

    from starlette.types import Send

    from flowdapt.engine import Engine
    from flowdapt.runs import Run
    from flowdapt.storage import StoredRun
    from flowdapt_rest.feeds import Feed
    from flowdapt_rest.forms import Form
    from flowdapt_rest.waits import Waits

RUN_HEADER = "X-Run-UID"  #: of a reply: the run that it tells of


class TooSlow(FlowdaptError):
    """A caller takes items so slowly that they are not kept for it any longer."""

    def __init__(self, run: str) -> None:
        super().__init__(
            f"more than {BEHIND_BYTES} bytes of items waited for this caller, who takes them too "
            f"slowly; run {run!r} goes on, and its result will have all of them"
        )


class Streams:
    """Makes such replies."""

    def __init__(self, engine: Engine, waits: Waits) -> None:
        self.engine, self.waits, self.feeds = engine, waits, Feeds(engine.events)
        self._tasks: set[asyncio.Task[Any]] = set()

    def share(self, run: Run, feed: Feed, *, new: bool) -> None:
        """Have who asks for a run once more begin with the items that there are.

        :param new: nobody has asked for it before
        """
        if not new:
            self.feeds.catch_up(run.uid, feed)
            return
        self.feeds.keep(run.uid, feed)
        self._do(self._forget(run))

    def reply(self, run: Run, feed: Feed, form: Form, *, cancel: bool) -> StreamingResponse:
        """Return a reply that goes on until a run has ended.

        :param feed: what is told; closed with the reply
        :param cancel: stop the run if the caller goes away before that
        """

        def left(told_all: bool) -> None:
            self.feeds.close(run.uid, feed)
            if cancel and not (told_all or self.waits.over):
                self._do(self._cancel(run))

        return _Reply(_Telling(self, run, feed, form), run, left)

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _forget(self, run: Run) -> None:
        try:
            with suppress(FlowdaptError):
                await self.engine.wait(run.uid)
        finally:
            self.feeds.forget(run.uid)

    async def _cancel(self, run: Run) -> None:
        with suppress(FlowdaptError):  # such as that it was deleted meanwhile
            await self.engine.cancel(run.uid)


class _Reply(StreamingResponse):
    """The reply itself.

    :param left: called once it is over, with whether all was told that is to be
    """

    def __init__(self, telling: _Telling, run: Run, left: Callable[[bool], None]) -> None:
        self.telling, self.left = telling, left
        # Proxies are told not to hold back what is small.
        headers = {
            "Cache-Control": "no-store",
            "X-Accel-Buffering": "no",
            RUN_HEADER: str(run.uid),
        }
        self.messages = telling.messages()
        super().__init__(self.messages, headers=headers, media_type=telling.form.media_type)

    async def stream_response(self, send: Send) -> None:
        """Send all messages; whatever ends that, ends them too."""
        try:
            async with aclosing(self.messages):
                await super().stream_response(send)
        finally:
            self.left(self.telling.told_all)


class _Telling:
    """What one caller is told of a run, from its items to its end."""

    def __init__(self, streams: Streams, run: Run, feed: Feed, form: Form) -> None:
        self.engine, self.waits = streams.engine, streams.waits
        self.run, self.feed, self.form = run, feed, form
        self.told_all = False

    async def messages(self) -> AsyncGenerator[bytes, None]:
        """Yield messages, several at once where they are small; at the end, how the run ended."""
        ended = asyncio.create_task(self.engine.wait(self.run.uid))
        ended.add_done_callback(lambda _: self.feed.woken.set())
        try:
            with self.waits.told(self.feed.woken.set):
                async for piece in self._live(ended):
                    yield piece
            self._check(ended)
            stored = await ended
            if not stored.run.state.final:
                raise ServerError(f"run {self.run.name!r} is in progress on another server")
            await self._complete(stored)
            while told := self.feed.piece():
                yield self._written(told)
                await asyncio.sleep(0)  # others have their turn
            self.told_all = True
            yield self.form.message("end", _end(stored, self.feed.count))
        except FlowdaptError as error:
            self.told_all = True
            said = {"type": type(error).__name__, "message": str(error)}
            yield self.form.message("error", to_json(said))
        finally:
            ended.cancel()

    def _check(self, ended: asyncio.Task[StoredRun]) -> None:
        """Refuse to go on where what is missing will not come here."""
        if ended.done():
            return
        if self.feed.behind:
            raise TooSlow(self.run.name)
        if self.waits.over:
            raise ServerError(f"the server stops, and run {self.run.name!r} has not ended")

    async def _live(self, ended: asyncio.Task[StoredRun]) -> AsyncGenerator[bytes, None]:
        """Yield what the run yields, until it has ended or nothing more is to be told."""
        while True:
            self.feed.woken.clear()
            if told := self.feed.piece():
                yield self._written(told)
                await asyncio.sleep(0)
            elif self.feed.behind or ended.done() or self.waits.over:
                return
            else:
                try:
                    async with asyncio.timeout(sse.ALIVE_SECONDS):
                        await self.feed.woken.wait()
                except TimeoutError:
                    yield self.form.alive

    async def _complete(self, stored: StoredRun) -> None:
        """Have items told that are in a run's result, and were not told while it was computed."""
        text = stored.result or b"null"
        if stored.run.state is not RunState.FINISHED:
            return
        if len(text) <= AT_ONCE:
            self.feed.complete(text)
        else:
            await asyncio.to_thread(self.feed.complete, text)

    def _written(self, told: Sequence[tuple[str, bytes]]) -> bytes:
        return b"".join(self.form.message(*one) for one in told)


def _end(stored: StoredRun, items: int) -> bytes:
    """Return how a run ended, as JSON.

    :param items: how many were told
    """
    run = stored.run
    end = {"state": run.state, "uid": run.uid, "name": run.name, "items": items}
    if (why := run.failure) is not None:
        end["error"] = {"type": why.type, "message": why.message, "stage": why.stage}
    return to_json(end)
