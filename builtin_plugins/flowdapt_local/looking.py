"""Whether targets can be imported, as workers find out."""

from __future__ import annotations

import asyncio
import itertools
import signal
from collections.abc import Callable, Sequence

from flowdapt_workers.crew import Crew
from flowdapt_workers.processes import Kind, Process

from flowdapt.errors import StageError

Problems = dict[str, StageError]  #: what is wrong with targets, by target


class Lookups:
    """Has workers import targets.

    :param idle: told of a worker that has done so
    """

    def __init__(self, crew: Crew, idle: Callable[[Process], None]) -> None:
        self._crew, self._idle = crew, idle
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Problems]] = {}

    async def look(self, kind: Kind, targets: Sequence[str]) -> Problems:
        """Import targets in a worker, which computes nothing meanwhile."""
        process = self._crew.take(kind) or await self._crew.fork(kind)
        number = next(self._numbers)
        future: asyncio.Future[Problems] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        process.send("lookup", number, list(targets))
        process.exited.add_done_callback(lambda _: future.cancel())
        try:
            problems = await future
        except asyncio.CancelledError:
            process.signal(signal.SIGKILL)  # it hangs in a user's module, or is dead already
            if process.exited.done():
                raise StageError("the worker that imported the targets died over them") from None
            raise
        finally:
            del self._waiting[number]
        if not process.exited.done():
            self._idle(process)
        return problems

    def found(self, number: int, problems: Problems) -> None:
        """Take the answer of a worker."""
        future = self._waiting.get(number)
        if future is not None and not future.done():
            future.set_result(problems)
