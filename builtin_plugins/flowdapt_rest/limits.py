"""What one client, and all of them together, may cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from flowdapt.errors import SettingsError

if TYPE_CHECKING:
    from flowdapt.settings import Api

KEEP_ALIVE_SECONDS = 75  #: clients reuse connections after pauses, and fail where they are closed


@dataclass(frozen=True, slots=True)
class Limits:
    """What a client may do before it is refused or cut off.

    :param body: bytes of a request's body
    :param connections: at once, of all clients together
    :param head: bytes of a request before its body
    :param head_seconds: how long a connection may wait for the end of a request's head, from its
        begin or from the reply before
    :param body_seconds: how long the begin of a body may take
    :param stalled_seconds: until somebody who takes too little of what is sent, or is silent and
        cannot be reached, counts as gone
    :param pace: bytes a second at which a body needs to come after that, and a reply to be taken
    """

    body: int
    connections: int
    head: int = 64 * 1024
    head_seconds: float = KEEP_ALIVE_SECONDS + 5.0
    body_seconds: float = 30.0
    stalled_seconds: float = 60.0
    pace: float = 1024.0

    @classmethod
    def of(cls, api: Api, options: Mapping[str, Any] | None = None) -> Limits:
        """Return those of the settings.

        :param options: of the service; they are named like those here that have a default
        :raises SettingsError: there is no such option, or it is no number above 0
        """
        given = options or {}
        known = [f.name for f in fields(cls) if f.name not in ("body", "connections")]
        for name, value in given.items():
            if name not in known:
                raise SettingsError(
                    f"services.rest.{name} means nothing; there are: {', '.join(known)}"
                )
            if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
                raise SettingsError(f"services.rest.{name} is {value!r}; it must be above 0")
        return cls(body=api.max_body, connections=api.max_connections, **given)
