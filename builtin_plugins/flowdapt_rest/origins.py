"""Which web pages may call from a browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.middleware.cors import CORSMiddleware

from flowdapt_rest.errors import reply

if TYPE_CHECKING:
    from starlette.datastructures import Headers
    from starlette.types import Receive, Scope, Send

ALLOWED = r"http://(localhost|127\.0\.0\.1)(:\d+)?"  #: origins of pages on this machine
READING = {"GET", "HEAD", "OPTIONS"}


class Origins(CORSMiddleware):
    """CORS, and nothing but reading for pages of other origins.

    Browsers send a plain POST without asking first and only keep the page from reading the reply.
    As bodies are JSON whatever their type, any page on the web could otherwise create a workflow on
    the machine of whoever visits it. Only browsers send `Origin`.
    """

    async def simple_response(
        self, scope: Scope, receive: Receive, send: Send, request_headers: Headers
    ) -> None:
        """Pass the request on, or refuse it."""
        origin = request_headers.get("origin")
        if scope["method"] in READING or origin is None or self.is_allowed_origin(origin):
            await super().simple_response(scope, receive, send, request_headers)
        else:
            refusal = reply(403, f"pages of {origin} may not call {scope['method']} here")
            await refusal(scope, receive, send)
