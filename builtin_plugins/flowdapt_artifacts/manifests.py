"""What is in an artifact: the file ``.artifact.json``, with the user's metadata and our own facts.

Earlier releases know the metadata only. What we add is under a key of its own: each file with its
size and SHA-256, and a digest of all the rest. Where the key is missing, an artifact has the files
that are in its folder, and they are taken as they are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

FILE = ".artifact.json"
OURS = ".flowdapt"
_PLAIN = ("version", "keep", "saved", "type", "draft", "deleted")  #: stored as they are
_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS | orjson.OPT_SORT_KEYS


class Digest(NamedTuple):
    """What a file must be.

    :param sha256: as hexadecimal digits
    """

    size: int
    sha256: str

    @classmethod
    def of(cls, data: bytes) -> Digest:
        """Return that of the file's whole content."""
        return cls(len(data), hashlib.sha256(data).hexdigest())

    def fault(self, data: bytes) -> str:
        """Say what is wrong with a content; nothing if it is right."""
        if len(data) != self.size:
            return f"has {len(data):,} bytes instead of {self.size:,}"
        if hashlib.sha256(data).hexdigest() != self.sha256:
            return "does not have the content that was written"
        return ""


@dataclass(frozen=True, slots=True)
class Manifest:
    """One version of an artifact; it is in force once it is written.

    :param metadata: the user's
    :param files: those that we wrote
    :param version: counts from 1, with every save and transaction
    :param keep: how many versions before this one stay readable
    :param saved: seconds since 1970
    :param type: of the value, where it was saved as one
    :param draft: in which folder files of this version were written; they may still be there
    :param gone: files of the version before that are not in this one; they may still be there
    :param deleted: there is no artifact, and what is left of it goes
    :param guess: it is made up, because the one that was stored is corrupt
    """

    metadata: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, Digest] = field(default_factory=dict)
    version: int = 0
    keep: int = 0
    saved: float = 0.0
    type: str = ""
    draft: str = ""
    gone: tuple[str, ...] = ()
    deleted: bool = False
    guess: bool = False

    @property
    def size(self) -> int:
        """The bytes of the files that we wrote."""
        return sum(digest.size for digest in self.files.values())

    def keeps(self, version: int) -> bool:
        """Tell whether an earlier version stays readable with this one."""
        return self.version - self.keep <= version < self.version

    def to_bytes(self) -> bytes:
        """Return it as it is stored.

        :raises TypeError: a value of the metadata has no form in JSON
        """
        ours: dict[str, Any] = {
            "files": {name: list(digest) for name, digest in self.files.items()},
        }
        ours |= {name: value for name in _PLAIN if (value := getattr(self, name))}
        if self.gone:
            ours["gone"] = list(self.gone)
        # As it will be read, where the keys 1 and "1" are one.
        metadata = orjson.loads(orjson.dumps(dict(self.metadata), None, _OPTIONS))
        ours["digest"] = _digest({**metadata, OURS: ours})
        return orjson.dumps({**metadata, OURS: ours}, None, _OPTIONS)

    @classmethod
    def from_bytes(cls, data: bytes) -> Manifest:
        """Return what was stored, by us or an earlier release.

        :raises ValueError: saying why it is no such thing
        """
        try:
            metadata = orjson.loads(data) if data.strip() else {}
        except orjson.JSONDecodeError as error:
            raise ValueError(f"is not JSON: {error}") from None
        if not isinstance(metadata, dict):
            raise ValueError("is no JSON object")
        ours = metadata.get(OURS)
        if ours is None:
            return cls(metadata)
        try:
            sound = ours.pop("digest") == _digest(metadata)
            del metadata[OURS]
            files = {name: Digest(*facts) for name, facts in ours["files"].items()}
            known = {name: ours[name] for name in _PLAIN if name in ours}
            found = cls(metadata, files, gone=tuple(ours.get("gone", ())), **known)
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"has something else under {OURS!r}: {error!r}") from None
        if not sound:
            raise ValueError(
                f"was changed by others; without its key {OURS!r} it is taken as it is"
            )
        return found


def _digest(document: Mapping[str, Any]) -> str:
    return hashlib.sha256(orjson.dumps(document, None, _OPTIONS)).hexdigest()
