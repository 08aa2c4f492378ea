"""An executor: a place where stages are computed. This one has threads of the server.

What every executor does, such as attempts, time limits and elements of lists, comes with the class
that it is derived from. To compute elsewhere, such as on machines of your own, change ``called``.
An executor that has nothing in common with that one keeps the contract of
:mod:`flowdapt.executors`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from flowdapt.errors import NeverFits
from flowdapt.executors import Call, Handle, Node
from flowdapt_workers.inline import InlineExecutor


class ThreadExecutor(InlineExecutor):
    """Computes stages in threads. What a reference stands for is the result itself.

    :param threads: how many stages, or elements of them, are computed at once
    """

    kind = "threads"

    def __init__(self, *, threads: int = 4) -> None:
        super().__init__(threads=threads)

    def submit(self, call: Call) -> Handle:
        """Have a call computed, if there will ever be as many threads as it asks for."""
        asked = call.resources.get("cpus", 0)
        if asked > self.threads:
            raise NeverFits(call.stage, "cpus", asked, self.threads)
        return super().submit(call)

    def called(self, work: Callable[[], Any]) -> asyncio.Future[Any]:
        """Have a function called, with its arguments and its context, beside the event loop."""
        return super().called(work)

    async def nodes(self) -> Sequence[Node]:
        """Return this process, as the only machine."""
        total = {"cpus": float(self.threads)}
        return [Node("threads", alive=True, resources=total, free=total, workers=self.threads)]
