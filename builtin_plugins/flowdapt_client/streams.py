"""Two shells that do what calls need: one waits for it, the other is awaited.

Each has a stream, which is iterated over, and a shell proper, which is asked for one answer.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any, Self, TypeVar

from flowdapt.errors import FlowdaptError
from flowdapt_client.exchange import Exchange, hang_up
from flowdapt_client.library import httpx
from flowdapt_client.steps import (
    Call,
    Ended,
    Item,
    Items,
    Listen,
    Pause,
    Request,
    Step,
    Steps,
)

_T = TypeVar("_T")


class Blocking:
    """Waits for what calls need."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.http = httpx.Client(**exchange.options)

    def run(self, call: Call[_T]) -> _T:
        """Return what comes of a call."""
        with Stream[_T](self, call) as stream:
            return stream.end()

    def iterate(self, call: Items[_T]) -> Stream[_T]:
        """Return what a call hands on; it begins with the first that is asked for."""
        return Stream(self, call)


class Stream(Iterator[_T]):
    """What a server sends, one by one, until it ends or until it is closed."""

    def __init__(self, shell: Blocking, call: Call[_T] | Items[_T]) -> None:
        self._shell, self._steps = shell, Steps(call)
        self._reply: httpx.Response | None = None
        self._bytes: Iterator[bytes] = iter(())
        self._closed, self._busy = threading.Event(), threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> _T:
        found = self._go_on()
        if isinstance(found, Item):
            return found.value
        raise StopIteration

    def end(self) -> _T:
        """Return what came of it in the end."""
        found = self._go_on()
        while isinstance(found, Item):
            found = self._go_on()
        value: _T = found.value
        return value

    def close(self) -> None:
        """End it; another thread that waits for the next one finds that there is none."""
        self._closed.set()
        if self._reply:
            hang_up(self._reply)
        if self._busy.acquire(blocking=False):  # else that thread does it
            try:
                self._release()
            finally:
                self._busy.release()

    def _release(self) -> None:
        self._steps.close()
        if self._reply:
            self._reply.close()

    def _go_on(self) -> Item[_T] | Ended:
        with self._busy:
            try:
                step = self._steps.resume() if not self._closed.is_set() else Ended(None)
                while not isinstance(step, Item | Ended):
                    step = self._take(step)
                if isinstance(step, Ended):
                    self._release()
            except BaseException:
                self._release()
                raise
            return step

    def _take(self, step: Step) -> Step | Item[_T] | Ended:
        try:
            answer = self._do(step)
        except FlowdaptError as error:
            return Ended(None) if self._closed.is_set() else self._steps.fail(error)
        return Ended(None) if self._closed.is_set() else self._steps.resume(answer)

    def _do(self, step: Step) -> Any:
        exchange, http = self._shell.exchange, self._shell.http
        if isinstance(step, Pause):
            return self._closed.wait(step.seconds)
        with exchange.trouble():
            if isinstance(step, Request):
                return exchange.answer(http.send(exchange.request(http, step)), raw=step.raw)
            if isinstance(step, Listen):
                return self._listen(step)
            return next(self._bytes, None)

    def _listen(self, step: Listen) -> httpx.Headers:
        exchange, http = self._shell.exchange, self._shell.http
        if self._reply:
            self._reply.close()
        request = exchange.request(http, step.request, stream=True)
        self._reply = reply = http.send(request, stream=True)
        if reply.is_error:
            reply.read()
        self._bytes = reply.iter_bytes()
        exchange.check_stream(reply)
        return reply.headers


class Awaiting:
    """Is awaited for what calls need."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.http = httpx.AsyncClient(**exchange.options)

    async def run(self, call: Call[_T]) -> _T:
        """Return what comes of a call."""
        async with AsyncStream[_T](self, call) as stream:
            return await stream.end()

    def iterate(self, call: Items[_T]) -> AsyncStream[_T]:
        """Return what a call hands on; it begins with the first that is asked for."""
        return AsyncStream(self, call)


class AsyncStream(AsyncIterator[_T]):
    """What a server sends, one by one, until it ends or until it is closed."""

    def __init__(self, shell: Awaiting, call: Call[_T] | Items[_T]) -> None:
        self._shell, self._steps = shell, Steps(call)
        self._reply: httpx.Response | None = None
        self._bytes: AsyncIterator[bytes] | None = None
        self._doing: asyncio.Task[Any] | None = None
        self._closed, self._busy = False, asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> _T:
        found = await self._go_on()
        if isinstance(found, Item):
            return found.value
        raise StopAsyncIteration

    async def end(self) -> _T:
        """Return what came of it in the end."""
        found = await self._go_on()
        while isinstance(found, Item):
            found = await self._go_on()
        value: _T = found.value
        return value

    async def aclose(self) -> None:
        """End it at once; another task that waits for the next one finds that there is none."""
        self._closed = True
        if self._doing:
            self._doing.cancel()
        async with self._busy:
            await self._release()

    async def _release(self) -> None:
        self._steps.close()
        if self._reply:
            await self._reply.aclose()

    async def _go_on(self) -> Item[_T] | Ended:
        async with self._busy:
            try:
                step = self._steps.resume() if not self._closed else Ended(None)
                while not isinstance(step, Item | Ended):
                    step = await self._take(step)
                if isinstance(step, Ended):
                    await self._release()
            except BaseException:
                await self._release()
                raise
            return step

    async def _take(self, step: Step) -> Step | Item[_T] | Ended:
        # A task of its own: who closes the stream must not cancel the one that waits for more.
        self._doing = asyncio.create_task(self._do(step))
        try:
            answer = await self._doing
        except FlowdaptError as error:
            return Ended(None) if self._closed else self._steps.fail(error)
        except asyncio.CancelledError:
            if not self._closed or _is_cancelled():
                raise
            return Ended(None)
        finally:
            self._doing = None
        return Ended(None) if self._closed else self._steps.resume(answer)

    async def _do(self, step: Step) -> Any:
        exchange, http = self._shell.exchange, self._shell.http
        if isinstance(step, Pause):
            return await asyncio.sleep(step.seconds)
        with exchange.trouble():
            if isinstance(step, Request):
                reply = await http.send(exchange.request(http, step))
                return exchange.answer(reply, raw=step.raw)
            if isinstance(step, Listen):
                return await self._listen(step)
            return await anext(self._bytes, None) if self._bytes else None

    async def _listen(self, step: Listen) -> httpx.Headers:
        exchange, http = self._shell.exchange, self._shell.http
        if self._reply:
            await self._reply.aclose()
        request = exchange.request(http, step.request, stream=True)
        self._reply = reply = await http.send(request, stream=True)
        if reply.is_error:
            await reply.aread()
        self._bytes = reply.aiter_bytes()
        exchange.check_stream(reply)
        return reply.headers


def _is_cancelled() -> bool:
    """Tell whether the task that this is called in is to end."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
