"""The server's end of a gateway: the process, and what goes to and fro."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from flowdapt_workers import programs, wire
from flowdapt_workers.clusters import Surroundings
from flowdapt_workers.parts import Held

STOP_SECONDS = 15.0  #: how long a gateway may take to end, with the cluster that it started


class Link:
    """A gateway.

    :param received: called with each message of it, once it is up
    :param gone: called once when it ended, if it was up
    """

    def __init__(self, received: Callable[[wire.Message], None], gone: Callable[[], None]) -> None:
        self.name = uuid4().hex[:12]
        self._received, self._gone = received, gone
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: wire.Channel | None = None
        self._answer: asyncio.Future[wire.Message] = asyncio.get_running_loop().create_future()
        self._questions: dict[int, asyncio.Future[Any]] = {}
        self._numbers = itertools.count(1)

    async def open(
        self, target: str, options: Mapping[str, Any], surroundings: Surroundings
    ) -> wire.Message:
        """Start the process, and return its first answer: whether it reached the cluster."""
        self._process, ours = programs.started("flowdapt_workers.gateway")
        self._channel = await wire.Channel.over(ours, self._heard, self._lost)
        self.send("open", target, dict(options), surroundings)
        return await self._answer

    def _heard(self, message: wire.Message) -> None:
        if message[0] in ("up", "unavailable"):
            self._answer.set_result(message)
        elif message[0] in ("fetched", "prepared", "cancelled"):
            self._answered(*message[1:])
        else:
            self._received(message)

    def _lost(self) -> None:
        for number in list(self._questions):
            self._answered(number, None)
        if not self._answer.done():
            self._answer.set_result(("unavailable", "the gateway ended at once", False))
        else:
            self._gone()

    def send(self, *message: Any) -> None:
        """Send a message; nothing happens where the gateway has ended."""
        if self._channel is not None:
            self._channel.send(message)

    async def fetch(self, parts: list[Held]) -> list[bytes] | None:
        """Return payloads that the cluster holds; nothing if they are lost."""
        found: list[bytes] | None = await self._ask("fetch", parts)
        return found

    async def prepare(self, plugins: str, wheels: Path, *, look: bool) -> dict[str, str] | None:
        """Return what is wrong with a plugin set, by node; nothing if the gateway ended."""
        found: dict[str, str] | None = await self._ask("prepare", plugins, str(wheels), look)
        return found

    async def cancel(self, orders: list[int]) -> None:
        """Have orders stopped; return once they are, or the gateway has ended."""
        await self._ask("cancel", orders)

    async def _ask(self, what: str, *about: Any) -> Any:
        number = next(self._numbers)
        self._questions[number] = asyncio.get_running_loop().create_future()
        self.send(what, number, *about)
        try:
            return await self._questions[number]
        finally:
            del self._questions[number]

    def _answered(self, number: int, found: Any) -> None:
        future = self._questions.get(number)
        if future is not None and not future.done():
            future.set_result(found)

    async def close(self, *, at_once: bool = False) -> None:
        """Have the process end, and wait for that.

        :param at_once: without letting go of the cluster, as where that is lost
        """
        if self._channel is not None:
            self._channel.close()
        if self._process is not None:
            if at_once:
                self._process.kill()
            try:
                await asyncio.to_thread(self._process.wait, STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                await asyncio.to_thread(self._process.wait)
