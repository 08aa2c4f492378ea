"""A server in the foreground: it serves until a signal, and then stops in order."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

import typer

from flowdapt import __version__
from flowdapt.errors import PluginError
from flowdapt.server import Server
from flowdapt_cli import logs
from flowdapt_cli.blame import culprit

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from flowdapt.settings import Settings
    from flowdapt_cli.invocation import Invocation

logger = logging.getLogger(__name__)


def serve(invocation: Invocation, *, services: str | None = None, insecure: bool = False) -> None:
    """Serve until SIGINT or SIGTERM.

    :param services: names with commas between them; absent, all that the settings do not disable
    :param insecure: need no tokens, whatever the settings say
    """
    overrides = ("rpc.api.insecure=true", "rpc.api.require_token=false") if insecure else ()
    settings = invocation.settings(*overrides, write_missing=True)
    only = None if services is None else frozenset(filter(None, services.split(",")))
    plugins = invocation.server_plugins(settings)
    log(settings)
    while True:
        server = Server(settings, plugins, only=only)
        try:
            asyncio.run(_serve(server))
        except (Exception, SystemExit) as error:
            was_up = server.stopping.is_set()
            guilty = None if was_up else culprit(error, plugins)
            if guilty is None:
                raise
            logger.exception("plugin %s keeps the server from starting", guilty.name)
            plugins = invocation.plugins_without(guilty, plugins, settings)
            logger.warning("plugin %s is left out; see flowdapt plugins disable", guilty.name)
        else:
            break
    if server.restarting:  # as another process, so that nothing of the old one is left
        logger.info("starting anew")
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - as we were


async def _serve(server: Server) -> None:
    with stopping_on_signals() as stop:
        async with server:
            typer.echo(greeting(server))
            _collect_seldom()
            await stop.wait()
            if server.settings.drain_on_sigterm or server.restarting:
                stop.clear()
                await _drain(server, stop)
            logger.info("stopping")


def _collect_seldom() -> None:
    """Have the collector look through all objects less often, and never at what was imported.

    It holds up everybody meanwhile: 200 ms with a thousand listeners, who are 200,000 objects.
    """
    gc.freeze()
    young, middle, old = gc.get_threshold()
    gc.set_threshold(young, middle, 10 * old)


async def _drain(server: Server, stop: asyncio.Event) -> None:
    """Wait for the runs in progress, as long as the settings have it or until a signal."""
    server.engine.draining = True
    seconds = server.settings.drain_timeout_seconds
    logger.info("draining: runs in progress have %g s to end; a signal stops at once", seconds)
    waits = [asyncio.ensure_future(w) for w in (server.engine.drained(), stop.wait())]
    await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()


def log(settings: Settings, stream: TextIO | None = None) -> None:
    """Set up the log of this process."""
    logs.configure(settings.logging, dev=settings.dev, stream=stream)


def greeting(server: Server) -> str:
    """Return the line that says that a server is up, and where."""
    where = ", ".join(server.addresses.values()) or f"no address{_why_nowhere(server)}"
    return f"flowdapt {__version__} serves at {where}, with its files in {server.settings.app_dir}"


def _why_nowhere(server: Server) -> str:
    """Say what is missing where nobody asked for a server without HTTP."""
    try:
        server.plugins.resolve("services", "rest")
    except PluginError as error:
        return f" ({error})"
    return ""


@contextmanager
def stopping_on_signals(
    numbers: Sequence[signal.Signals] = (signal.SIGINT, signal.SIGTERM),
) -> Iterator[asyncio.Event]:
    """Yield an event that signals set.

    While it is set, a signal does what it would do without us: somebody does not want to wait.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def heard(number: signal.Signals) -> None:
        if stop.is_set():
            loop.remove_signal_handler(number)
            signal.raise_signal(number)
        stop.set()

    for number in numbers:
        loop.add_signal_handler(number, heard, number)
    try:
        yield stop
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
