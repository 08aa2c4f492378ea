"""By which names a server on this machine may be called."""

from __future__ import annotations

import re
from contextlib import suppress
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from flowdapt_rest import origins
from flowdapt_rest.errors import reply

if TYPE_CHECKING:
    from collections.abc import Collection

    from starlette.types import ASGIApp, Receive, Scope, Send

    from flowdapt.settings import Api


class Hosts:
    """Refuses requests to a name that is not this server's, where no token is needed.

    A page on the web whose name leads to this machine since it was loaded is of the same origin as
    the server, and could read everything. Its requests have that name as `Host`.

    :param names: of the server, beside addresses and `localhost`
    """

    def __init__(self, app: ASGIApp, names: Collection[str]) -> None:
        self.app, self.names = app, names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        host = Headers(scope=scope).get("host", "") if scope["type"] == "http" else ""
        name = re.sub(r":\d*$", "", host).strip("[]").lower()
        if name in self.names or _is_local(name):
            await self.app(scope, receive, send)
            return
        refusal = reply(
            403,
            f"this server is not known as {name!r:.100}, but by its addresses, as localhost, and as"
            " the hosts that rpc.api.allow_origins names",
        )
        await refusal(scope, receive, send)


def _is_local(name: str) -> bool:
    """Tell whether a name can be nobody else's; it is missing where no browser calls."""
    if name in ("", "localhost") or name.endswith(".localhost"):
        return True
    with suppress(ValueError):
        ip_address(name)
        return True
    return False


def names(api: Api) -> Collection[str]:
    """Return the names that the settings give the server."""
    named = (urlsplit(origin).hostname for origin in origins.checked(api.allow_origins))
    return {api.host.lower(), *filter(None, named)}
