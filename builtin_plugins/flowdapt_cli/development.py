"""A server over a folder that somebody works in: what stands in it is applied when it changes."""

from __future__ import annotations

import asyncio
import os
import pdb
import signal
import socket
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flowdapt.errors import FlowdaptError, InvalidResource
from flowdapt.server import Server
from flowdapt.snapshots import Root
from flowdapt_cli import documents
from flowdapt_cli.documents import BadFiles, faults_of
from flowdapt_cli.embedded import run_here
from flowdapt_cli.errors import WRONG, status_of
from flowdapt_cli.foreground import greeting, log, stopping_on_signals
from flowdapt_cli.output import Form, Stderr, note
from flowdapt_cli.watching import Watch

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from flowdapt.engine import Engine
    from flowdapt.settings import Settings
    from flowdapt_cli.invocation import Invocation

APP_DIR = ".flowdapt"  #: within the folder
PORTS = 100  #: how many are tried, from the one in the settings on


@dataclass(frozen=True)
class Development:
    """What is to be done with a folder.

    :param workflow: to run once the resources are in order, with ``values`` as its input
    :param debug: compute in this process and draw no bars, so that breakpoints have the terminal
    :param leave: stop once that is done
    """

    folder: Path
    workflow: str | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    debug: bool = False
    leave: bool = False
    form: Form = "table"

    def start(self, invocation: Invocation) -> int:
        """Serve until a signal, or until there is no more to do; return the program's status."""
        settings = self._settings(invocation)
        log(settings, Stderr())
        if self.debug and "PYTHONBREAKPOINT" not in os.environ:
            sys.breakpointhook = debugger
        plugins = invocation.server_plugins(settings)
        return asyncio.run(self._serve(Server(settings, plugins, roots=(Root(self.folder),))))

    def _settings(self, invocation: Invocation) -> Settings:
        app_dir = self.folder / APP_DIR
        inline = ("executor=inline",) if self.debug else ()
        settings = invocation.settings(*inline, app_dir=app_dir)
        if settings.app_dir == app_dir:
            (app_dir / ".gitignore").write_text("*\n")
        api = settings.rpc.api
        port = free_port(api.host, api.port)
        if port != api.port:
            note(f"port {api.port} is taken; using {port}")
        rpc = settings.rpc.model_copy(update={"api": api.model_copy(update={"port": port})})
        return settings.model_copy(update={"rpc": rpc})

    async def _serve(self, server: Server) -> int:
        # In a debugger Ctrl-C has to reach the stage, which has the event loop's own thread.
        numbers = [signal.SIGTERM, *([] if self.debug else [signal.SIGINT])]
        with stopping_on_signals(numbers) as stop, Watch(self.folder) as watch:
            async with server:
                note(greeting(server))
                if not self.leave:
                    note(f"watching {self.folder}; Ctrl-C stops")
                work = asyncio.create_task(self._work(server.engine, watch))
                stopped = asyncio.create_task(stop.wait())
                await asyncio.wait([work, stopped], return_when=asyncio.FIRST_COMPLETED)
                stopped.cancel()
                if work.done():
                    return await work
                work.cancel()
                await asyncio.wait([work])
                return 0

    async def _work(self, engine: Engine, watch: Watch) -> int:
        """Apply what is there, now and after each change, and run the workflow once."""
        run: asyncio.Task[int] | None = None
        try:
            while True:
                sound = await apply(engine, self.folder)
                if sound and self.workflow and run is None:
                    run = asyncio.create_task(self._run(engine, self.workflow))
                if self.leave and sound:
                    return await run if run else 0
                if self.leave:
                    return WRONG
                await watch.changed(code=not sound)
        finally:
            if run:
                run.cancel()

    async def _run(self, engine: Engine, workflow: str) -> int:
        bars = not self.debug
        try:
            return await run_here(engine, workflow, self.values, bars=bars, form=self.form)
        except FlowdaptError as error:
            note(f"Error: {error}")
            return status_of(error)


async def apply(engine: Engine, folder: Path) -> bool:
    """Apply all resources of a folder, or none; say what changed or what is wrong where."""
    try:
        checked = documents.read([folder], engine.kinds)
    except BadFiles as error:
        note(f"Error: {error}")
        return False
    if not checked:
        note(f"no resources in {folder} yet")
    for one in checked:
        try:
            _, verdict = await engine.apply(one.document.data, where=one.document.where)
        except InvalidResource as error:
            note("Error: " + "\n".join(faults_of(one.document, error)))
            return False
        except FlowdaptError as error:
            note(f"Error: {one.title}: {error}")
            return False
        if verdict != "unchanged":
            note(f"{one.title} {verdict}")
    return True


def debugger() -> None:
    """Debug the calling stage; Ctrl-C does not become the debugger's for good."""
    pdb.Pdb(nosigint=True).set_trace(sys._getframe(1))  # what breakpoint() is called from


def free_port(host: str, port: int) -> int:
    """Return the first port from ``port`` on that nobody listens on; ``port`` if there is none."""
    for candidate in range(port, min(port + PORTS, 2**16)):
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as attempt:
            attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                attempt.bind((host, candidate))
            except OSError:
                continue
            return candidate
    return port
