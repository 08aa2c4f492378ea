"""Which web pages may call from a browser."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from starlette.middleware.cors import CORSMiddleware

from flowdapt.errors import SettingsError
from flowdapt_rest.errors import reply
from flowdapt_rest.roles import READING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from starlette.datastructures import Headers
    from starlette.responses import Response
    from starlette.types import Receive, Scope, Send

ALLOWED = r"http://(localhost|127\.0\.0\.1)(:\d+)?"  #: origins of pages on this machine

_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s@*]+")


class Origins(CORSMiddleware):
    """CORS, and nothing but reading for pages of other origins.

    Browsers send a plain POST without asking first and only keep the page from reading the reply.
    As bodies are JSON whatever their type, any page on the web could otherwise create a workflow on
    the machine of whoever visits it. Only browsers send `Origin`.
    """

    def preflight_response(self, request_headers: Headers) -> Response:
        """Answer what a browser asks before it lets a page call."""
        answer = super().preflight_response(request_headers)
        if answer.status_code < 400:  # noqa: PLR2004 - where refusals begin
            return answer
        kept = {k: v for k, v in answer.headers.items() if not k.startswith("content-")}
        refusal = f"pages of {request_headers['origin']} may not call here"
        return reply(answer.status_code, refusal, headers=kept)

    async def simple_response(
        self, scope: Scope, receive: Receive, send: Send, request_headers: Headers
    ) -> None:
        """Pass the request on, or refuse it."""
        origin = request_headers.get("origin")
        allowed = origin is None or self.is_allowed_origin(origin) or _is_own(request_headers)
        if allowed or scope["method"] in READING:
            await super().simple_response(scope, receive, send, request_headers)
        else:
            refusal = reply(403, f"pages of {origin} may not call {scope['method']} here")
            await refusal(scope, receive, send)


def _is_own(headers: Headers) -> bool:
    """Tell whether a page of this server's own calls, such as ``/docs``.

    That only counts with a token, which browsers do not send by themselves: a page that was loaded
    from elsewhere, and whose name leads here since, has the right name and no token.
    """
    own = headers["origin"].partition("://")[2] == headers.get("host")
    return own and "authorization" in headers


def checked(origins: Iterable[str]) -> Sequence[str]:
    """Return the origins that the settings name beside :data:`ALLOWED`.

    :raises SettingsError: one is no origin, which would let nobody in and say nothing; nor is `*`,
        which would let every page on the web do everything where no token is needed
    """
    found = [*origins]
    for origin in found:
        if not _ORIGIN.fullmatch(origin):
            raise SettingsError(
                f"rpc.api.allow_origins: {origin!r} is no origin; write it as a browser does, "
                "such as https://app.example.com, without a path or a slash at the end"
            )
    return found
