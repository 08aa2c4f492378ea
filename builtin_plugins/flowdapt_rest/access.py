"""Who calls, and whether they may do what they ask for."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING

from starlette.routing import BaseRoute, Match

from flowdapt.errors import FlowdaptError
from flowdapt_rest.forms import form_of
from flowdapt_rest.revocable import Revocable
from flowdapt_rest.roles import ANONYMOUS, Caller, Role, role_by_method
from flowdapt_rest.tokens import FORM, Tokens, claimed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from starlette.requests import Request
    from starlette.types import ASGIApp, Receive, Scope, Send

    from flowdapt_rest.tokens import Token

# Not Basic: browsers would ask for a password and then send it from every page, on their own.
_CHALLENGE = 'Bearer realm="flowdapt"'
_HEADER = b"authorization"


class Unauthorized(FlowdaptError):
    """A token is needed and there is none, or the one that was sent is not valid.

    :param headers: of the reply
    """

    def __init__(self, fact: str, *, sent: bool) -> None:
        super().__init__(f"{fact}; send a token as 'Authorization: Bearer TOKEN'")
        wrong = ', error="invalid_token"' if sent else ""
        self.headers: Mapping[str, str] = {"WWW-Authenticate": _CHALLENGE + wrong}


class Forbidden(FlowdaptError):
    """The caller's role is too low."""

    def __init__(self, caller: Caller, needed: Role) -> None:
        super().__init__(
            f"this needs a token with the role {needed.value}, "
            f"and the role of {caller.name!r} is {caller.role.value}"
        )


# Who calls -----------------------------------------------------------------------------------


class Access:
    """Finds out who makes a request, before anything else is done with it.

    :param needed: whether a token is needed; one that is sent is looked at in any case
    """

    def __init__(
        self, app: ASGIApp, *, tokens: Tokens, needed: bool, routes: Sequence[BaseRoute]
    ) -> None:
        self.app, self.tokens, self.needed, self.routes = app, tokens, needed, routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its caller, or refuse it."""
        token = await self._identify(scope) if scope["type"] == "http" else None
        if token is None or not _may_go_on(scope):
            await self.app(scope, receive, send)
            return
        ends = Revocable(receive, send, tokens=self.tokens, token=token)
        await self.app(scope, ends.receive, ends.send)
        await ends.finish()

    async def _identify(self, scope: Scope) -> Token | None:
        """Note who calls, and return the token if there is one.

        :raises Unauthorized: one is needed, or what was sent is none
        """
        state = scope.setdefault("state", {})
        address = (scope.get("client") or ("",))[0]
        sent = [header for header in scope["headers"] if header[0] == _HEADER]
        given = _taken(scope)
        token = None if given is None else await self.tokens.find(given)
        if given is None or (token is None and self._has_own_tokens(scope)):
            role = Role.ANYONE if self.needed else Role.ADMIN
            state["caller"] = Caller(ANONYMOUS, role, address)
            if self.needed and not self._open(scope):
                raise Unauthorized("nobody may call this without a token", sent=False)
            scope["headers"].extend(sent)
            return None
        name = token.name if token else ANONYMOUS
        if token is None or token.expired:
            state["caller"] = Caller(name, Role.ANYONE, address, claimed(given))
            fact = f"the token {name!r} has expired" if token else "the token is not valid"
            raise Unauthorized(fact, sent=True)
        state["caller"] = Caller(name, token.role, address, token.id)
        return token

    def _open(self, scope: Scope) -> bool:
        """Tell whether the route of a request is for everybody; most requests need not ask."""
        return _named_role(self._route(scope)) is Role.ANYONE

    def _has_own_tokens(self, scope: Scope) -> bool:
        """Tell whether a token that is none of ours is for the endpoint itself."""
        return bool(getattr(self._route(scope), "own_tokens", False)) and self._open(scope)

    def _route(self, scope: Scope) -> BaseRoute | None:
        found = (route for route in self.routes if route.matches(scope)[0] is Match.FULL)
        return next(found, None)


def _may_go_on(scope: Scope) -> bool:
    """Tell whether the reply to a request may be a stream."""
    accepted = (value for name, value in scope["headers"] if name == b"accept")
    return scope["method"] == "GET" or any(form_of(a.decode("latin-1")) for a in accepted)


def _taken(scope: Scope) -> str | None:
    """Take the token out of a request's headers; ``None`` where there is no such header.

    It is gone from then on, so that nobody logs it with the request, not even in a traceback that
    shows variables.
    """
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    found = [value for name, value in headers if name == _HEADER]
    if not found:
        return None
    headers[:] = [header for header in headers if header[0] != _HEADER]
    return _token(found[0]) if len(found) == 1 else ""


def _token(header: bytes) -> str:
    """Return what may be a token in the value of a header; an empty text is none."""
    scheme, _, value = header.decode("latin-1").strip().partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() != "basic":
        return ""
    try:
        user, _, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return ""
    # Of clients that know only addresses: http://:TOKEN@host, or http://TOKEN@host.
    return next((text for text in (password, user) if FORM.fullmatch(text)), "")


# What they may do ----------------------------------------------------------------------------


class Guard:
    """Lets through to a route who may call it.

    :param role: what is needed; absent, what the method needs
    """

    def __init__(self, app: ASGIApp, role: Role | None) -> None:
        self.app, self.role = app, role

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        _require(scope, self.role or role_by_method(scope["method"]))
        await self.app(scope, receive, send)


def needs(request: Request, role: Role) -> None:
    """Refuse a caller without a role, where more is asked for than the route says.

    :raises Forbidden: the caller's role is too low
    """
    _require(request.scope, role)


def _require(scope: Scope, role: Role) -> None:
    caller: Caller = scope["state"]["caller"]
    if not caller.role.covers(role):
        raise Forbidden(caller, role)


def guarded(routes: Iterable[BaseRoute]) -> list[BaseRoute]:
    """Return routes so that each lets through only who has its role.

    :raises TypeError: one is no route of an application
    :raises ValueError: one names a role that there is not
    """
    found = list(routes)
    for route in found:
        if not isinstance(route, BaseRoute) or not callable(app := getattr(route, "app", None)):
            raise TypeError(f"{route!r:.50} is no route of Starlette")
        route.app = Guard(app, _named_role(route))  # type: ignore[attr-defined]  # as just seen
    return found


def needed_role(route: BaseRoute, method: str) -> Role:
    """Return the role that a route needs."""
    return _named_role(route) or role_by_method(method)


def _named_role(route: BaseRoute | None) -> Role | None:
    """Return the role that a route names in its attribute ``role``, if it does."""
    named = getattr(route, "role", None)
    return None if named is None else Role(named)
