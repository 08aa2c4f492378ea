"""A real server in a thread of this process, and a line to it that tests can cut."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from textwrap import dedent
from typing import Any, TypeVar

from flowdapt_cli.reading import settings

from flowdapt.plugins import Plugins
from flowdapt.server import Server

SECONDS = 20.0  #: until something that should happen counts as not happening

MODULE = "user_modules.fruit"
STAGES = """
    import os
    import time
    from pathlib import Path

    from flowdapt import get_run_context

    def opened(gate):
        while not Path(gate).exists():
            time.sleep(0.01)

    def echo(**values):
        return values

    def pick(n=3):
        print("picking", n)
        return list(range(n))

    def weigh(item):
        if item:
            opened(get_run_context().input["gate"])
        return 2 * item

    def sort(item):
        if item % 2 and not Path(get_run_context().input["gate"]).exists():
            raise ValueError(f"{item} is odd")
        return item

    def drip(gate):
        yield "one"
        opened(gate)
        yield "two"

    def trickle(gate):
        yield "one"
        opened(gate)
        yield "two"
        opened(gate + ".end")

    async def pour(n):
        for i in range(n):
            yield i

    def spill():
        yield 1
        raise ValueError("spilt")

    def relapse(gate):
        yield 1
        died = Path(gate + ".died")
        if not died.exists():
            died.touch()
            time.sleep(0.5)
            os._exit(1)
        yield 2

    def improvise(gate, n):
        died = Path(gate + ".died")
        attempt = 2 if died.exists() else 1
        for i in range(n if died.exists() else 2):
            yield [attempt, i]
        if attempt == 1:
            opened(gate)
            died.touch()
            os._exit(1)

    def speak(gate):
        print("one", flush=True)
        opened(gate)
        print("two")
        return "well"
"""

_T = TypeVar("_T")


class Line:
    """Where a server is reached, until somebody cuts the line."""

    def __init__(self, server: str) -> None:
        self._host, _, self._port = server.removeprefix("http://").partition(":")
        self._ends: set[asyncio.StreamWriter] = set()
        self._answered = True

    async def open(self) -> str:
        """Return the address."""
        self._listening = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        return "http://{}:{}".format(*self._listening.sockets[0].getsockname())

    async def cut(self, *, answered: bool = True) -> None:
        """Break off all that goes on.

        :param answered: whether who comes again is let through
        """
        self._answered = answered
        for end in self._ends:
            end.transport.abort()

    async def close(self) -> None:
        """Have nobody listen any more."""
        self._listening.close()
        await self.cut()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._answered:
            writer.transport.abort()
            return
        from_server, to_server = await asyncio.open_connection(self._host, int(self._port))
        self._ends |= {writer, to_server}
        await asyncio.gather(_pump(reader, to_server), _pump(from_server, writer))
        self._ends -= {writer, to_server}


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(2**16):
            writer.write(data)
            await writer.drain()
    writer.close()


class Served:
    """A server that runs.

    :param address: of the line to it
    """

    server: Server
    line: Line
    address: str

    def __init__(self, folder: Path, plugins: Plugins, *overrides: str) -> None:
        modules = folder / "user_modules"
        modules.mkdir()
        (modules / "fruit.py").write_text(dedent(STAGES))
        chosen = ["rpc.api.port=0", "services.compute.executor.cpus=2", *overrides]
        self._settings = settings.load(folder, "-", environ={}, overrides=chosen)
        self._plugins = plugins
        self._ready, self._over = threading.Event(), asyncio.Event()

    def do(self, work: Awaitable[_T]) -> _T:
        """Do something in the thread of the server."""

        async def awaited() -> _T:
            return await work

        return asyncio.run_coroutine_threadsafe(awaited(), self._loop).result(SECONDS)

    def cut(self, *, answered: bool = True) -> None:
        """Cut the line to the server."""
        self.do(self.line.cut(answered=answered))

    @contextmanager
    def running(self) -> Iterator[Served]:
        """Run the server until the context ends."""
        thread = threading.Thread(target=asyncio.run, args=(self._serve(),))
        thread.start()
        try:
            assert self._ready.wait(SECONDS)
            yield self
        finally:
            self._loop.call_soon_threadsafe(self._over.set)
            thread.join(SECONDS)

    async def _serve(self) -> None:
        async with Server(self._settings, self._plugins) as self.server:
            self.line = Line(self.server.addresses["rest"])
            self.address = await self.line.open()
            self._loop = asyncio.get_running_loop()
            self._ready.set()
            await self._over.wait()
            await self.line.close()


def workflow(name: str, *stages: str, partial: bool = False) -> dict[str, Any]:
    """Return a workflow of functions in :data:`STAGES`, each over the elements of the one before.

    :param partial: go on where elements fail
    """
    options = {"allow_partial_failure": partial}
    made: list[dict[str, Any]] = [{"name": stages[0], "target": f"{MODULE}.{stages[0]}"}]
    for before, stage in pairwise(stages):
        mapped = {"type": "parameterized", "depends_on": [before], "options": options}
        made.append({"name": stage, "target": f"{MODULE}.{stage}", **mapped})
    return {"kind": "workflow", "metadata": {"name": name}, "spec": {"stages": made}}
