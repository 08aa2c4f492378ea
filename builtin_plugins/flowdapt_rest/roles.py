"""What a caller may do: three roles, each of which may also do what those below it may."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.requests import Request

READING = frozenset({"GET", "HEAD", "OPTIONS"})  #: methods that change nothing
ANONYMOUS = "anonymous"  #: the name of whoever sends no token


class Role(StrEnum):
    """What may be done, from the least to the most."""

    ANYONE = "anyone"  #: of routes alone: who calls them needs no token
    READ = "read"
    OPERATE = "operate"  #: start, cancel, retry and delete runs, and drain the server
    ADMIN = "admin"  #: everything; resources name code, so whoever changes them runs code

    def covers(self, needed: Role) -> bool:
        """Tell whether this role may do what ``needed`` may."""
        return _RANKS[self] >= _RANKS[needed]


_RANKS = {role: rank for rank, role in enumerate(Role)}
OF_TOKENS = tuple(role for role in Role if role is not Role.ANYONE)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a request; endpoints find it as ``request.state.caller``.

    :param name: the token's name, or :data:`ANONYMOUS`
    :param role: what the caller may do here
    :param address: where the request comes from; a proxy on this machine is believed, and of one
        elsewhere it is the proxy's own
    :param token: the public part of the token; empty without one
    """

    name: str
    role: Role
    address: str
    token: str = ""


def actor(request: Request) -> str:
    """Return the name that the caller is known by; empty where nobody was asked for one."""
    caller: Caller = request.state.caller
    return "" if caller.name == ANONYMOUS else caller.name


def role_by_method(method: str) -> Role:
    """Return the role that a route needs which does not name one."""
    return Role.READ if method in READING else Role.ADMIN
