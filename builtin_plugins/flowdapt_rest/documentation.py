"""What the interface says of itself: the OpenAPI document, and a page that shows it."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

import orjson
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from flowdapt_rest.roles import Role

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request


class DocumentationRoutes:
    """The document, made when somebody first asks for it, and the page."""

    def __init__(self) -> None:
        self._document: bytes | None = None

    def routes(self) -> list[BaseRoute]:
        """Return the routes; they are not in the document themselves."""
        document = Route("/openapi.json", self.document, methods=["GET"], include_in_schema=False)
        pages = [
            Route(path, self.page, methods=["GET"], include_in_schema=False)
            for path in ("/docs", "/redoc")
        ]
        for page in pages:  # they hold nothing; the document does, which they ask for
            page.role = Role.ANYONE  # type: ignore[attr-defined]
        return [document, *pages]

    async def document(self, request: Request) -> Response:
        """Return the OpenAPI document."""
        if self._document is None:
            from flowdapt_rest import openapi  # few ask for it, and starting stays quick

            app = request.app
            made = openapi.document(app.routes, token_needed=app.state.token_needed)
            self._document = orjson.dumps(made)
        return Response(self._document, media_type="application/json")

    async def page(self, request: Request) -> Response:
        """Return the page that shows the document, and tries what is in it."""
        del request
        text, headers = _page()
        return Response(text, headers=headers, media_type="text/html")


@cache
def _page() -> tuple[str, Mapping[str, str]]:
    """Return the page with its style and script in it, and the headers that allow only those."""
    folder = files("flowdapt_rest") / "pages"
    style, script = (folder / "docs.css").read_text(), (folder / "docs.js").read_text()
    page = (folder / "docs.html").read_text()
    policy = [
        "default-src 'none'",
        f"style-src {_hash(style)}",
        f"script-src {_hash(script)}",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
    headers = {
        "Content-Security-Policy": "; ".join(policy),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
    }
    return page.replace("/*style*/", style).replace("/*script*/", script), headers


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
