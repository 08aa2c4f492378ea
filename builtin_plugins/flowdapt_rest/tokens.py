"""Tokens: texts by which callers are known, of which only a digest is kept."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import takewhile
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from flowdapt.errors import FlowdaptError, ResourceNotFound
from flowdapt.resources import now
from flowdapt_rest.roles import ANONYMOUS, Role

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from flowdapt.storage import Document, Storage

KIND = "token"  #: of the documents in the storage; no resource may be of that kind
ID_BYTES = 4  #: of what a token is found by, which is no secret
SECRET_BYTES = 32  #: of what makes it one
FORM = re.compile(rf"fd_([0-9a-f]{{{2 * ID_BYTES}}})_([0-9a-f]{{{2 * SECRET_BYTES}}})")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,99}")


class TokenRefused(FlowdaptError):
    """A token cannot be made, or there is none of that name."""


@dataclass(frozen=True, slots=True)
class Token:
    """A token as it is kept, from which the text cannot be had again.

    :param id: the public part of the text
    :param name: who has it, for people and for the audit trail
    :param digest: of the secret part. One round of SHA-256 is enough: slow digests are for secrets
        that can be guessed, and nobody tries 2**256 of them
    """

    id: str
    name: str
    role: Role
    created_at: datetime
    expires_at: datetime | None = None
    digest: bytes = field(default=bytes(32), repr=False)
    uid: UUID = field(default_factory=uuid4)

    @property
    def expired(self) -> bool:
        """Whether its time is over."""
        return self.expires_at is not None and self.expires_at <= now()

    def facts(self) -> dict[str, str | None]:
        """Return what may be shown of it."""
        return {
            "id": self.id,
            "name": self.name,
            "role": self.role.value,
            "created_at": self.created_at.isoformat(),
            "expires_at": self.expires_at.isoformat() if self.expires_at else None,
        }

    def document(self) -> Document:
        """Return it as a storage keeps it, under its id: any storage finds documents by name."""
        created = self.created_at.isoformat()
        metadata = {
            "uid": str(self.uid),
            "name": self.id,
            "generation": 1,
            "created_at": created,
            "updated_at": created,
            "annotations": {},
        }
        return {
            "kind": KIND,
            "metadata": metadata,
            "spec": self.facts() | {"digest": self.digest.hex()},
        }

    @classmethod
    def read(cls, document: Document) -> Token:
        """Return what a document holds."""
        spec: dict[str, Any] = document["spec"]
        expires = spec["expires_at"]
        return cls(
            id=spec["id"],
            name=spec["name"],
            role=Role(spec["role"]),
            created_at=datetime.fromisoformat(spec["created_at"]),
            expires_at=datetime.fromisoformat(expires) if expires else None,
            digest=bytes.fromhex(spec["digest"]),
            uid=UUID(document["metadata"]["uid"]),
        )


#: stands in for a token that there is not, so that looking for one is as much work; no secret has
#: a digest of zeros
_NONE = Token("", "", Role.ANYONE, now())


class Tokens:
    """The tokens in a storage, which other processes may add to and take from at any time."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage

    async def create(
        self, name: str, role: Role, *, lifetime: timedelta | None = None
    ) -> tuple[Token, str]:
        """Store a new token; return it with its text, which nobody can tell again.

        :raises TokenRefused: the name cannot be used, or is in use
        """
        if not _NAME.fullmatch(name) or name == ANONYMOUS:
            raise TokenRefused(
                f"a token cannot be named {name!r}: a name is up to 100 letters, digits and '._@-',"
                f" begins with a letter or digit, and is not {ANONYMOUS!r}"
            )
        if _taken(name, await self.list()):
            raise _in_use(name)
        secret = secrets.token_hex(SECRET_BYTES)
        begun = now()
        token = Token(
            secrets.token_hex(ID_BYTES),
            name,
            role,
            created_at=begun,
            expires_at=None if lifetime is None else begun + lifetime,
            digest=_digest(secret),
        )
        await self.storage.create(token.document())
        # Storages guard ids and no names: where programs make one at once, the first has the name.
        if _taken(name, takewhile(lambda other: other.uid != token.uid, await self.list())):
            await self.storage.delete(KIND, token.uid)
            raise _in_use(name)
        return token, f"fd_{token.id}_{secret}"

    async def list(self) -> Sequence[Token]:
        """Return all tokens, in the order in which they were made."""
        return [Token.read(document) for document in await self.storage.list(KIND)]

    async def revoke(self, name: str) -> Token:
        """Remove a token by its name or id, and return it; from now on it is worth nothing.

        :raises TokenRefused: there is none
        """
        found = [token for token in await self.list() if name in (token.name, token.id)]
        for token in found:  # one may be named as another's id
            await self.storage.delete(KIND, token.uid)
        if found:
            return found[0]
        raise TokenRefused(f"no token named {name!r}; 'flowdapt tokens list' shows what there is")

    async def find(self, text: str) -> Token | None:
        """Return the token that a text is, also one that has expired; ``None`` where it is none.

        It is looked up each time, because that is quick and what was revoked must not count for a
        second longer. How long it takes tells at most whether there is a token of that id.
        """
        form = FORM.fullmatch(text)
        if form is None:
            return None
        digest = _digest(form[2])
        try:
            token = Token.read(await self.storage.get(KIND, form[1]))
        except ResourceNotFound:
            token = _NONE
        return token if hmac.compare_digest(digest, token.digest) else None

    async def still_counts(self, token: Token) -> bool:
        """Tell whether a token that was found before is neither revoked nor expired."""
        try:
            found = Token.read(await self.storage.get(KIND, token.id))
        except ResourceNotFound:
            return False
        return found.uid == token.uid and not found.expired


def _taken(name: str, tokens: Iterable[Token]) -> bool:
    return any(name in (token.name, token.id) for token in tokens)


def _in_use(name: str) -> TokenRefused:
    return TokenRefused(f"there is a token {name!r} already; revoke it, or choose a name")


def claimed(text: str) -> str:
    """Return the id in what may be a token; empty where it does not look like one."""
    form = FORM.fullmatch(text)
    return form[1] if form else ""


def hidden(text: str) -> str:
    """Return a text with the secrets of tokens in it left out."""
    return FORM.sub(r"fd_\1_...", text)


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
