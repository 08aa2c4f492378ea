"""The service: uvicorn within the server's own event loop."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from contextlib import suppress
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, ClassVar

import uvicorn

from flowdapt import __version__
from flowdapt.errors import ServerError
from flowdapt.services import Service
from flowdapt_rest.app import make_app
from flowdapt_rest.waits import Waits

if TYPE_CHECKING:
    from flowdapt.server import Server

logger = logging.getLogger(__name__)

KEEP_ALIVE_SECONDS = 75  #: clients reuse connections after pauses, and fail where they are closed
STOP_SECONDS = 3  #: how long a stopping service waits for replies that are under way
BACKLOG = 2048  #: connections that the system holds until they are accepted
TICK_SECONDS = 1.0  #: how often the Date header is renewed


class RestService(Service):
    """Answers HTTP."""

    order: ClassVar[int] = 90  # what it gives access to is up before it

    def __init__(self, server: Server, **options: Any) -> None:
        super().__init__(server, **options)
        self._waits = Waits()

    async def start(self) -> None:
        """Listen where the settings say.

        :raises ServerError: that is not possible
        """
        api = self.server.settings.rpc.api
        self._socket = listening(api.host, api.port)
        config = uvicorn.Config(
            make_app(self.server, self._waits),
            log_config=None,
            log_level="warning",
            access_log=False,
            lifespan="off",
            ws="none",
            backlog=BACKLOG,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=STOP_SECONDS,
            server_header=False,
            headers=[("server", f"flowdapt-{__version__}")],
        )
        config.load()
        # Server.serve() would catch signals, which are the business of the program around it.
        self._uvicorn = uvicorn.Server(config)
        self._uvicorn.lifespan = config.lifespan_class(config)
        await self._uvicorn.startup(sockets=[self._socket])
        self._ticks = asyncio.create_task(self._tick(), name="rest-date")
        self.server.addresses["rest"] = _url(self._socket)

    async def stop(self) -> None:
        """Answer what is under way, within a limit, and close."""
        self._waits.end()
        self._ticks.cancel()
        with suppress(asyncio.CancelledError):
            await self._ticks
        await self._uvicorn.shutdown(sockets=[self._socket])
        self.server.addresses.pop("rest", None)

    async def _tick(self) -> None:
        while True:
            await self._uvicorn.on_tick(0)
            await asyncio.sleep(TICK_SECONDS)


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    :param port: 0 takes a free one
    :raises ServerError: naming the address, and what to do
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ServerError(_refusal(host, port, error)) from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise ServerError(_refusal(host, port, error)) from error
    listener.setblocking(False)
    if not ip_address(listener.getsockname()[0].partition("%")[0]).is_loopback:
        logger.warning("whoever reaches %s may do everything: nobody is asked who they are", host)
    return listener


def _refusal(host: str, port: int, error: OSError) -> str:
    fact = f"cannot listen on {host}:{port}"
    if error.errno == errno.EADDRINUSE:
        return (
            f"{fact}: the port is taken by another program; stop that one, "
            "or choose another port with --override rpc.api.port=N"
        )
    if error.errno == errno.EACCES:
        return (
            f"{fact}: ports below 1024 need more rights; "
            "choose another with --override rpc.api.port=N"
        )
    reason = error.strerror or os.strerror(error.errno or 0)
    return f"{fact}: {reason}; choose another address with --override rpc.api.host=ADDRESS"


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
