"""Work that may take long, in threads that nobody has to wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from threading import Thread
from typing import Any


async def in_thread(work: Callable[..., Any], *args: Any) -> Any:
    """Do some work in a thread of its own, and return what it returns.

    Unlike those of :func:`asyncio.to_thread`, the thread does not keep the process from ending.
    Cancelling the wait leaves it alone; it ends when the work does.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Any] = loop.create_future()

    def settle(value: Any, error: Exception | None) -> None:
        if not done.done():
            done.set_exception(error) if error else done.set_result(value)

    def run() -> None:
        value, failed = None, None
        try:
            value = work(*args)
        except Exception as error:
            failed = error
        with suppress(RuntimeError):  # the loop has been closed meanwhile
            loop.call_soon_threadsafe(settle, value, failed)

    Thread(target=run, name="telemetry", daemon=True).start()
    return await done
