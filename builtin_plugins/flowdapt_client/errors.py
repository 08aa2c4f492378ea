"""What can go wrong between a client and a server."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from flowdapt.errors import FlowdaptError, SettingsError

LOOPBACK = ("127.0.0.1", "::1", "localhost")


class BadAddress(SettingsError):
    """What is given as the address of a server is none."""

    def __init__(self, address: str, why: object) -> None:
        self.address = re.sub(r"//[^/@]*@", "//...@", address)  # a token may stand there
        super().__init__(f"{self.address!r} is no address of a server: {why}")


class NoServer(FlowdaptError):
    """Nobody answers at the address, or not in time."""

    def __init__(self, address: str, why: str = "") -> None:
        near = any(f"//{host}" in address or f"[{host}]" in address for host in LOOPBACK)
        advice = "; start one with 'flowdapt serve'" if near and not why else ""
        super().__init__(f"no server answers at {address}{why and ': ' + why}{advice}")
        self.address = address


class NotInTime(NoServer):
    """Somebody answers at the address, and takes too long."""

    def __init__(self, address: str) -> None:
        FlowdaptError.__init__(self, f"the server at {address} does not answer in time")
        self.address = address


class ConnectionLost(NoServer):
    """The connection ended before the answer came; what was asked for may have been done."""

    def __init__(self, address: str) -> None:
        FlowdaptError.__init__(
            self, f"the connection to {address} was lost before it answered; it may have done it"
        )
        self.address = address


class Refused(FlowdaptError):
    """The server answered with an error.

    :param status: of HTTP
    :param errors: faults of single fields, each with ``loc``, ``msg`` and ``type``
    """

    def __init__(self, status: int, detail: str, errors: Sequence[Mapping[str, Any]] = ()) -> None:
        super().__init__(f"the server refused: {detail}")
        self.status, self.detail, self.errors = status, detail, [dict(one) for one in errors]

    @classmethod
    def of(cls, status: int, answer: Any) -> Refused:
        """Return the error that an answer tells of."""
        if not isinstance(answer, dict):
            return cls(status, str(answer))
        return cls(status, str(answer.get("detail", answer)), answer.get("errors") or ())


class StreamLost(FlowdaptError):
    """The server closes a stream of events whenever it is opened."""

    def __init__(self, path: str) -> None:
        super().__init__(f"the server closes the stream of events at {path} again and again")
        self.path = path


class StageRestarted(FlowdaptError):
    """The stage whose items a stream has begins anew, and nobody said what to do about that."""

    def __init__(self, run: str) -> None:
        super().__init__(
            f"the last stage of run {run} begins anew, and all items come again; "
            "give 'restarted' to be told so, and to forget those so far"
        )
        self.run = run


class Unreadable(FlowdaptError):
    """A server answers what this client cannot read."""


class RunFailed(FlowdaptError):
    """A run has no result, because it failed or was cancelled."""

    def __init__(self, run: str, state: str, type: str, message: str, traceback: str) -> None:  # noqa: A002
        where = f"\n{traceback.rstrip()}" if traceback else ""
        super().__init__(f"run {run} {state}: {type}: {message}{where}")
        self.run, self.state, self.type, self.message = run, state, type, message
        self.traceback = traceback
