"""What one client, and all of them together, may cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowdapt.settings import Api

KEEP_ALIVE_SECONDS = 75  #: clients reuse connections after pauses, and fail where they are closed
STALLED_SECONDS = 60  #: until somebody who takes nothing of what is sent counts as gone


@dataclass(frozen=True, slots=True)
class Limits:
    """What a client may do before it is refused or cut off.

    :param body: bytes of a request's body
    :param connections: at once, of all clients together
    :param head: bytes of a request before its body
    :param head_seconds: how long a connection may wait for the end of a request's head
    :param body_seconds: how long the begin of a body may take
    :param body_pace: bytes a second that a body needs to arrive at, after that
    """

    body: int
    connections: int
    head: int = 64 * 1024
    head_seconds: float = KEEP_ALIVE_SECONDS + 5.0
    body_seconds: float = 30.0
    body_pace: float = 1024.0

    @classmethod
    def of(cls, api: Api) -> Limits:
        """Return those of the settings."""
        return cls(body=api.max_body, connections=api.max_connections)
