"""The service: uvicorn within the server's own event loop."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, ClassVar

import uvicorn

from flowdapt import __version__
from flowdapt.errors import ServerError
from flowdapt.services import Service
from flowdapt_rest import connections
from flowdapt_rest.app import make_app
from flowdapt_rest.limits import KEEP_ALIVE_SECONDS, Limits
from flowdapt_rest.tokens import Tokens
from flowdapt_rest.waits import Waits

if TYPE_CHECKING:
    from flowdapt.server import Server

logger = logging.getLogger(__name__)

STOP_SECONDS = 3  #: how long a stopping service waits for replies that are under way
BACKLOG = 2048  #: connections that the system holds until they are accepted
TICK_SECONDS = 1.0  #: how often the Date header is renewed, and late connections are closed


class RestService(Service):
    """Answers HTTP.

    :param options: times and paces of :class:`flowdapt_rest.limits.Limits`
    """

    order: ClassVar[int] = 90  # what it gives access to is up before it

    def __init__(self, server: Server, **options: Any) -> None:
        super().__init__(server, **options)
        self.limits = Limits.of(server.settings.rpc.api, options)
        self._waits = Waits()

    async def start(self) -> None:
        """Listen where the settings say.

        :raises ServerError: that is not possible, or not safe
        """
        api = self.server.settings.rpc.api
        self._socket = listening(api.host, api.port)
        _notice_who_is_gone(self._socket, self.limits.stalled_seconds)
        try:
            config = await self._configured()
        except BaseException:
            self._socket.close()
            raise
        # Server.serve() would catch signals, which are the business of the program around it.
        self._uvicorn = uvicorn.Server(config)
        self._uvicorn.lifespan = config.lifespan_class(config)
        await self._uvicorn.startup(sockets=[self._socket])
        self._ticks = asyncio.create_task(self._tick(), name="rest-date")
        self.server.addresses["rest"] = _url(self._socket)

    async def _configured(self) -> uvicorn.Config:
        needed = await self._token_needed()
        room = connections.allow_files(self.limits.connections)
        limits = replace(self.limits, connections=room)
        config = uvicorn.Config(
            make_app(
                self.server,
                self._waits,
                limits=limits,
                token_needed=needed,
                only_here=_is_local(self._socket),
            ),
            log_config=None,
            log_level="warning",
            access_log=False,
            lifespan="off",
            ws="none",
            backlog=BACKLOG,
            h11_max_incomplete_event_size=limits.head,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=STOP_SECONDS,
            server_header=False,
            headers=[("server", f"flowdapt-{__version__}")],
        )
        config.load()
        config.http_protocol_class = connections.bounded(config.http_protocol_class, limits)
        return config

    async def _token_needed(self) -> bool:
        """Tell whether callers need a token here.

        :raises ServerError: they would, there is none, and nobody said to go without
        """
        api = self.server.settings.rpc.api
        local = _is_local(self._socket)
        if not local and api.insecure and not api.require_token:
            logger.warning(
                "whoever reaches %s may do everything: nobody is asked who they are", api.host
            )
        if (local or api.insecure) and not api.require_token:
            return False
        tokens = await Tokens(self.server.engine.storage).list()
        if not all(token.expired for token in tokens):
            return True
        advice = "make one with 'flowdapt tokens create NAME --role admin'"
        if not local:
            raise ServerError(
                f"{api.host} can be reached from other machines, and there is no token by which "
                f"callers could be known; {advice}, or let everybody in with "
                "'flowdapt serve --insecure'"
            )
        logger.warning("every request is refused until there is a token; %s", advice)
        return True

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
            connections.close_late(self._uvicorn.server_state.connections)
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
    return listener


def _notice_who_is_gone(listener: socket.socket, seconds: float) -> None:
    """Have the system drop peers that vanished without a word.

    Connections have these options from the socket that accepts them. A peer that is silent, and to
    which nothing is to be sent, is asked now and then whether it is there.
    """
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", max(1, int(seconds))),
        ("TCP_KEEPINTVL", max(1, int(seconds / 4))),
        ("TCP_KEEPCNT", 4),
        ("TCP_USER_TIMEOUT", int(seconds * 1000)),
    ):
        if option := getattr(socket, name, None):  # not every system has them all
            listener.setsockopt(socket.IPPROTO_TCP, option, value)


def _is_local(listener: socket.socket) -> bool:
    """Tell whether only this machine can reach the socket."""
    return ip_address(listener.getsockname()[0].partition("%")[0]).is_loopback


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
