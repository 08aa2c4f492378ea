"""Which version of a kind's schema a client reads, and replies in that version."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

from starlette.responses import Response

from flowdapt.errors import FlowdaptError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from starlette.requests import Request

V1ALPHA1 = "v1alpha1"  #: what published clients read
V1 = "v1"  #: ours: everything that is known
#: A client that names no version gets the first. Clients that predate v1 may name none, and some of
#: them fail on what v1 adds, such as the state `cancelled`; so v1 comes only to who asks for it.
VERSIONS = (V1ALPHA1, V1)


class VersionRefused(FlowdaptError):
    """The client names no version that there is."""


@dataclass(frozen=True)
class Schema:
    """A kind in one version, as chosen for one request."""

    kind: str
    version: str

    def reply(self, body: bytes, *, headers: Iterable[tuple[str, str]] = ()) -> Response:
        """Return a reply with the headers that name the schema.

        :param body: JSON
        :param headers: further ones, in ASCII
        """
        response = Response(body)
        response.raw_headers += self.headers
        response.raw_headers += [(name.encode(), value.encode("ascii")) for name, value in headers]
        return response

    @cached_property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """What names the schema in a reply."""
        media_type = f"application/vnd.flowdapt.ai.{self.kind}.{self.version}+json"
        return [
            (b"content-type", media_type.encode()),
            (b"x-api-version", self.version.encode()),
        ]


def negotiate(request: Request, kind: str, *, offered: Sequence[str] = VERSIONS) -> Schema:
    """Return the schema to answer in.

    `X-API-Version` decides alone where it is given, else vendor types in `Accept` do. What `Accept`
    names beside them is not looked at: clients send types that fit nothing and expect an answer.

    :param offered: versions that the route has; the first is for clients that name none
    :raises VersionRefused: a version is named that the route does not have
    """
    headers = request.headers
    return _chosen(kind, tuple(offered), headers.get("x-api-version"), headers.get("accept", ""))


@lru_cache(maxsize=128)
def _chosen(kind: str, offered: tuple[str, ...], header: str | None, accept: str) -> Schema:
    if header is not None:
        match = re.match(rf"\s*{re.escape(kind)}\.(v\d\w*)", header)
        if match is None:
            raise VersionRefused(f"Invalid API version header: write it like '{kind}.{offered[0]}'")
        asked = [match[1]]
    else:
        asked = _accepted(kind, accept)
    for version in asked:
        if version in offered:
            return Schema(kind, version)
    if asked:
        raise VersionRefused(
            f"Unsupported API Versions requested: {', '.join(asked)}; "
            f"there {'are' if len(offered) > 1 else 'is'} {', '.join(offered)}"
        )
    return Schema(kind, offered[0])


def _accepted(kind: str, accept: str) -> list[str]:
    """Return the versions of a kind that an `Accept` header names, the most wanted first."""
    found: list[tuple[float, str]] = []
    for part in accept.lower().split(","):
        media_type, *parameters = part.split(";")
        pattern = rf"application/vnd\.flowdapt\.ai\.{re.escape(kind)}\.(v\d\w*)\+json"
        if match := re.fullmatch(pattern, media_type.strip()):
            found.append((_quality(parameters), match[1]))
    return [version for quality, version in sorted(found, key=lambda f: -f[0]) if quality > 0]


def _quality(parameters: Iterable[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q" and re.fullmatch(r"\d(\.\d*)?", value.strip()):
            return float(value)
    return 1.0
