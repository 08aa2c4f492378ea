"""The server's end of a gateway: the process, and what goes to and fro."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any
from uuid import uuid4

from flowdapt_workers import wire
from flowdapt_workers.clusters import Surroundings

# Imports from where the server does, whatever its PYTHONPATH and current folder are.
_BOOT = "import sys; sys.path[:] = {path!r}; from flowdapt_workers.gateway import main; main()"
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

    async def open(
        self, target: str, options: Mapping[str, Any], surroundings: Surroundings
    ) -> wire.Message:
        """Start the process, and return its first answer: whether it reached the cluster."""
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(  # noqa: ASYNC220 - a fork and exec, no waiting
                [sys.executable, "-c", _BOOT.format(path=sys.path), str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C in the terminal is for the server alone
            )
        self._channel = await wire.Channel.over(ours, self._heard, self._lost)
        self.send("open", target, dict(options), surroundings)
        return await self._answer

    def _heard(self, message: wire.Message) -> None:
        if message[0] in ("up", "unavailable"):
            self._answer.set_result(message)
        else:
            self._received(message)

    def _lost(self) -> None:
        if not self._answer.done():
            self._answer.set_result(("unavailable", "the gateway ended at once", False))
        else:
            self._gone()

    def send(self, *message: Any) -> None:
        """Send a message; nothing happens where the gateway has ended."""
        if self._channel is not None:
            self._channel.send(message)

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
