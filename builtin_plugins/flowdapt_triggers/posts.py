"""The action that tells others: it posts JSON to an address, and again where that fails."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from flowdapt.errors import FlowdaptError
from flowdapt.texts import to_json
from flowdapt_triggers.actions import only, refused
from flowdapt_triggers.secrecy import MARK, names_any, opened

if TYPE_CHECKING:
    from flowdapt.server import Server
    from flowdapt_triggers.actions import Firing

ATTEMPTS = 5
PAUSE_SECONDS = 1.0  #: before the second attempt; before each further one twice as long
ANSWER_SECONDS = 10.0
_BEGINS = ("http://", "https://", MARK)
AGAIN = frozenset({408, 425, 429})  #: statuses that may be others soon, as those from 500 on


class NotDelivered(FlowdaptError):
    """The other side did not take what was posted."""


class Post:
    """Posts JSON: ``url``, ``body`` (else the event), ``headers``, ``secret``, ``attempts``.

    With a ``secret``, the header ``X-Hub-Signature-256`` has the body's HMAC as GitHub sends it.
    ``Idempotency-Key`` is the same in each attempt. Address, headers and secret may have
    ``$secret{NAME}`` in them.
    """

    starts_run: ClassVar[bool] = False

    def __init__(self, server: Server, parameters: Mapping[str, Any]) -> None:
        self._engine = server.engine
        only(parameters, ("url", "body", "headers", "secret", "attempts"))
        self.url, self.body = parameters.get("url"), parameters.get("body")
        self.headers, self.secret = parameters.get("headers", {}), parameters.get("secret")
        self.attempts = parameters.get("attempts", ATTEMPTS)
        if not isinstance(self.url, str) or not self.url.startswith(_BEGINS):
            raise refused("url", f"is {self.url!r}, and must be an address that begins with http")
        if not isinstance(self.headers, dict):
            raise refused("headers", "must be an object of texts")
        if not isinstance(self.attempts, int) or not self.attempts > 0:
            raise refused("attempts", f"is {self.attempts!r}, and must be a number from 1 on")

    async def __call__(self, firing: Firing) -> None:
        """Post until it is taken.

        :raises NotDelivered: it never was
        """
        import httpx  # here, because most triggers have no use for it

        wanted = firing.occasion.event if self.body is None else firing.filled(self.body)
        body = to_json(wanted)
        headers = {"Content-Type": "application/json", "Idempotency-Key": str(firing.uid)}
        # Opened before they are filled: what happened must not name secrets.
        said_of = {"url": self.url, "headers": self.headers, "secret": self.secret}
        given = await opened(self._engine, said_of)
        if given["secret"]:
            signed = hmac.new(str(given["secret"]).encode(), body, hashlib.sha256).hexdigest()
            headers["X-Hub-Signature-256"] = f"sha256={signed}"
        headers |= {name: str(value) for name, value in firing.filled(given["headers"]).items()}
        url, pause, said = firing.filled(given["url"]), PAUSE_SECONDS, ""
        async with httpx.AsyncClient(timeout=ANSWER_SECONDS) as client:
            for attempt in range(self.attempts):
                if attempt:
                    await asyncio.sleep(pause)
                    pause *= 2
                try:
                    answer = await client.post(url, content=body, headers=headers)
                except httpx.HTTPError as error:
                    said = type(error).__name__ + ("" if names_any(said_of) else f": {error}")
                    continue
                except httpx.InvalidURL as error:  # it may tell the whole address
                    said = type(error).__name__
                    break
                if answer.is_success:
                    return
                said = f"it answers {answer.status_code}"
                if answer.status_code not in AGAIN and not answer.is_server_error:
                    break
        shown = firing.filled(self.url)
        raise NotDelivered(f"{shown} did not take it: {said}") from None
