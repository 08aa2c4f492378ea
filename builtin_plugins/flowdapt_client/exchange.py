"""Makes requests and reads answers, without sending anything."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

from flowdapt import __version__
from flowdapt.errors import InvalidInput, SettingsError
from flowdapt_client.errors import (
    LOOPBACK,
    BadAddress,
    ConnectionLost,
    NoServer,
    NotInTime,
    Refused,
    Unreadable,
)
from flowdapt_client.library import httpx

if TYPE_CHECKING:
    import ssl

    from flowdapt_client.steps import Request

CONNECT_SECONDS = 5.0  #: until a server counts as not there
ANSWER_SECONDS = 120.0  #: until an answer counts as never coming
SILENCE_SECONDS = 45.0  #: until a stream counts as lost; servers give a sign of life every 15 s

EVENT_STREAM = "text/event-stream"
BYTES = "application/octet-stream"


class Exchange:
    """Knows one server: its address, and what stands in every request to it.

    :param address: such as ``http://127.0.0.1:8080``; the scheme may be left out, and a token may
        stand in front of the host, as ``http://:TOKEN@host``
    :raises BadAddress: it is no address
    :raises SettingsError: the token cannot be one
    """

    def __init__(
        self,
        address: str,
        *,
        token: str | None = None,
        timeout: float = ANSWER_SECONDS,
        verify: bool | ssl.SSLContext = True,
    ) -> None:
        url = _url(address)
        token = token or url.password or url.username or None
        if token and not (token.isascii() and token.isprintable()):
            raise SettingsError("the token holds characters that none has; was it copied whole?")
        url = url.copy_with(userinfo=b"")  # errors tell of the address, and not of the token
        self.address = str(url).rstrip("/")
        headers = {"User-Agent": f"flowdapt/{__version__}", "Accept": "application/json"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        #: for a client of httpx
        self.options: dict[str, Any] = {
            "base_url": url,
            "timeout": httpx.Timeout(timeout, connect=CONNECT_SECONDS),
            "headers": headers,
            # A proxy would look for it on its own machine.
            "trust_env": url.host not in LOOPBACK,
            # Reading certificates takes time, and http has no use for them.
            "verify": verify if url.scheme == "https" else False,
            # Whoever waits for a run holds a connection; how many may wait is not ours to say.
            "limits": httpx.Limits(max_connections=None),
        }

    def request(
        self, http: httpx.Client | httpx.AsyncClient, asked: Request, *, stream: bool = False
    ) -> httpx.Request:
        """Return a request as it is sent.

        :raises InvalidInput: JSON has no word for its body
        """
        headers = {"X-API-Version": f"{asked.kind}.v1"} if asked.kind else {}
        if asked.content is not None:
            headers["Content-Type"] = BYTES
        timeout: Any = httpx.USE_CLIENT_DEFAULT
        if stream:
            headers |= {"Accept": EVENT_STREAM, "Cache-Control": "no-store"}
            timeout = httpx.Timeout(SILENCE_SECONDS, connect=CONNECT_SECONDS)
        try:
            return http.build_request(
                asked.method,
                asked.path,
                json=asked.body,
                content=asked.content,
                params=_query(asked.query),
                headers={**headers, **asked.headers},
                timeout=timeout,
            )
        except (TypeError, ValueError) as error:  # such as NaN
            raise InvalidInput(f"what is to be sent is no JSON: {error}") from None

    def answer(self, reply: httpx.Response, *, raw: bool = False) -> Any:
        """Return what a server answers.

        :param raw: as the bytes that it is, and not as JSON
        :raises Refused: it is an error
        """
        if raw and reply.headers.get("content-type") == BYTES:
            return reply.content
        try:
            answer = reply.json()
        except ValueError:
            if reply.is_error:  # such as a proxy whose server is away
                raise Refused(reply.status_code, reply.reason_phrase) from None
            if reply.has_redirect_location:
                to = reply.headers["location"]
                raise Unreadable(f"{self.address} leads elsewhere, to {to}") from None
            raise Unreadable(f"what answers at {self.address} is no flowdapt server") from None
        if reply.is_error:
            raise Refused.of(reply.status_code, answer)
        return answer

    def check_stream(self, reply: httpx.Response) -> None:
        """See whether an answer is a stream of events.

        :raises Refused: it is an error, which was read
        :raises Unreadable: it is something else
        """
        if reply.is_error:
            self.answer(reply)
        if not reply.headers.get("content-type", "").lower().startswith(EVENT_STREAM):
            path = reply.request.url.path
            raise Unreadable(f"what answers at {self.address} has no stream of events at {path}")

    @contextmanager
    def trouble(self) -> Iterator[None]:
        """Turn what goes wrong on the way into errors of ours."""
        try:
            yield
        except httpx.TimeoutException:
            raise NotInTime(self.address) from None
        except httpx.ConnectError as error:
            why = str(error)
            raise NoServer(self.address, why="" if "refused" in why.lower() else why) from None
        except httpx.TransportError:
            raise ConnectionLost(self.address) from None


def hang_up(reply: httpx.Response) -> None:
    """Have whoever waits for more of a reply find it at its end; any thread may call this."""
    network: Any = reply.extensions.get("network_stream")
    with suppress(OSError, AttributeError):  # it may be closed already
        network.get_extra_info("socket").shutdown(socket.SHUT_RDWR)


def _url(address: str) -> httpx.URL:
    try:
        url = httpx.URL(address if "://" in address else f"http://{address}")
    except httpx.InvalidURL as error:
        raise BadAddress(address, error) from None
    if url.scheme not in ("http", "https") or not url.host:
        raise BadAddress(address, "write it like http://127.0.0.1:8080")
    return url


def _query(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _text(value) for name, value in values.items() if value is not None}


def _text(value: Any) -> Any:
    if isinstance(value, list | tuple | set | frozenset):
        return [*map(_text, value)]
    return value.isoformat() if isinstance(value, datetime) else value
