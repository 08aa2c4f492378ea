"""Worker processes as the server sees them, and the zygote that forks them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from flowdapt_workers import programs, wire
from flowdapt_workers.calls import Facts

EXIT_SECONDS = 1.0  #: how long to wait for the cause of a death after its socket closed

STOP_SECONDS = 2.0  #: how long a stopping zygote may take


@dataclass(frozen=True, slots=True)
class Kind:
    """What tells workers apart: a process serves one kind for life.

    :param code: the snapshot of user modules it imports from
    :param gpus: the devices it sees
    """

    code: str = ""
    gpus: tuple[int, ...] = ()


@dataclass(eq=False)
class Process:
    """One worker.

    :param units: what it was given and has not answered, by number, oldest first
    :param contexts: runs whose context it knows
    :param mappings: mapped stages that it knows
    :param deferred: how many of the units wait in its event loop
    :param stopping: it is to be given nothing more
    :param killed: by us, because of one of its units: the others are not at fault
    :param begun_line: what it wrote past Python since its last line ended
    :param heard: it has said something, so it came up
    :param gone: its socket closed
    """

    pid: int
    kind: Kind
    units: dict[int, Any] = field(default_factory=dict)
    contexts: set[str] = field(default_factory=set)
    mappings: set[int] = field(default_factory=set)
    deferred: int = 0
    stopping: bool = False
    killed: bool = False
    heard: bool = False
    gone: bool = False
    channel: wire.Channel | None = None
    output: asyncio.ReadTransport | None = None
    output_end: int = -1
    begun_line: bytes = b""
    exited: asyncio.Future[int] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    def send(self, *message: Any) -> None:
        """Send a message to the worker."""
        if self.channel is not None:
            self.channel.send(message)

    def kill(self) -> None:
        """Kill the worker, because something in it does not stop."""
        self.stopping = self.killed = True
        self.signal(signal.SIGKILL)

    def stop(self, number: int) -> None:
        """Tell the worker that one of its units is to end; it hears of it while it computes."""
        self.send("stop", number)
        self.signal(wire.LISTEN)

    def answer(self, question: int, text: bytes) -> None:
        """Answer what one of its units asked."""
        self.send("answer", question, text)
        self.signal(wire.LISTEN)

    def interrupt(self) -> None:
        """Interrupt what the worker computes in its main thread."""
        self.stopping = True  # or the signal might reach what it is given next
        self.signal(signal.SIGINT)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, unless the process has ended: its number may be another's by now."""
        if not self.exited.done():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def cause(self) -> str:
        """Return in words why the process ended."""
        try:
            status = await asyncio.wait_for(asyncio.shield(self.exited), EXIT_SECONDS)
        except TimeoutError:
            return "its process is gone"
        if os.WIFSIGNALED(status):
            return f"killed by {signal.Signals(os.WTERMSIG(status)).name}"
        return f"exited with status {os.waitstatus_to_exitcode(status)}"


class Zygote:
    """The process that forks workers; started anew when it is needed and gone.

    :param preload: modules that it imports, for all workers
    :param received: called with a worker and each message of it
    :param printed: called with a worker and bytes that it wrote to its standard output or error
    :param lost: called with a worker whose socket closed
    """

    def __init__(
        self,
        preload: list[str],
        received: Callable[[Process, wire.Message], None],
        printed: Callable[[Process, bytes], None],
        lost: Callable[[Process], None],
    ) -> None:
        self._preload = preload
        self._received, self._printed, self._lost = received, printed, lost
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._channel: wire.Channel | None = None
        self._forked: asyncio.Future[int] | None = None
        self._number = 0
        self._children: dict[int, Process] = {}
        self._early: dict[int, int] = {}
        self._starting, self._forking = asyncio.Lock(), asyncio.Lock()

    async def start(self) -> None:
        """Start the process, unless it runs already."""
        async with self._starting:
            if self._channel is not None:
                return
            await self._end()  # what is left of an earlier one
            process, ours = programs.started("flowdapt_workers.zygote")
            self._process = process
            self._control = socket.socket(fileno=os.dup(ours.fileno()))
            self._control.sendall(wire.encode((self._preload,)))
            gone = partial(self._gone, process)
            self._channel = await wire.Channel.over(ours, self._told, gone)

    async def fork(self, kind: Kind, facts: Facts) -> Process:
        """Return a new worker.

        :raises ConnectionError: the zygote died meanwhile
        """
        ours, theirs = socket.socketpair()
        read, write = os.pipe()
        try:
            async with (
                self._forking
            ):  # one at a time, so that a request never has to wait to be sent
                await self.start()
                assert self._control is not None  # noqa: S101 - made by start
                self._forked = asyncio.get_running_loop().create_future()
                self._number += 1
                request = wire.encode((self._number, facts))
                try:
                    socket.send_fds(self._control, [request], [theirs.fileno(), write])
                except OSError:  # it died, and its socket is yet to tell
                    self._gone(self._process)
                pid = await self._forked
        except BaseException:
            ours.close()
            os.close(read)
            raise
        finally:
            theirs.close()
            os.close(write)
        process = Process(pid, kind)
        if pid in self._early:
            process.exited.set_result(self._early.pop(pid))
        else:
            self._children[pid] = process
        await self._connect(process, ours, read)
        return process

    async def _connect(self, process: Process, end: socket.socket, read: int) -> None:
        os.set_blocking(read, False)
        process.output_end = read
        process.channel = await wire.Channel.over(
            end,
            lambda message: self._received(process, message),
            lambda: self._lost(process),
        )
        process.output, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: _Printed(lambda data: self._printed(process, data)), os.fdopen(read, "rb", 0)
        )

    def _told(self, message: wire.Message) -> None:
        what, pid, *rest = message
        if what == "forked":
            # Whoever asked for an earlier one was cancelled; it ends as its socket is closed.
            if self._forked is not None and not self._forked.done() and rest[0] == self._number:
                self._forked.set_result(pid)
        elif (process := self._children.pop(pid, None)) is not None:
            process.exited.set_result(rest[0])
        else:
            self._early[pid] = rest[0]

    def _gone(self, process: subprocess.Popen[bytes] | None) -> None:
        """Notice that a zygote ended; its workers end with it."""
        if process is not self._process or self._channel is None:
            return
        self._channel.close()
        self._channel = None
        if self._control is not None:
            self._control.close()
        if self._forked is not None and not self._forked.done():
            self._forked.set_exception(ConnectionResetError("the process that forks workers died"))
        self._children.clear()

    async def stop(self) -> None:
        """End the process and, with it, every worker that is left."""
        if self._channel is not None:
            self._channel.close()
            if self._control is not None:
                self._control.close()
        await self._end()

    async def _end(self) -> None:
        """Wait for the process, whose socket is closed; kill it where it does not end."""
        if self._process is not None:
            try:
                await asyncio.to_thread(self._process.wait, STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                await asyncio.to_thread(self._process.wait)
            self._process = None


class _Printed(asyncio.Protocol):
    def __init__(self, printed: Callable[[bytes], None]) -> None:
        self._printed = printed

    def data_received(self, data: bytes) -> None:
        self._printed(data)
