"""How namespaces and keys are named in the file system."""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from urllib.parse import quote

LONGEST = 1024  #: bytes of a namespace or a key
LONGEST_FILE = 200  #: characters of a file's name; those of longer keys end in a digest


@lru_cache(4096)
def file_name(what: str, name: str) -> str:
    """Return the name of the file, or the folder, for a key or a namespace.

    :param what: says in the error which of them it is
    :raises ValueError: it is no name
    """
    if not isinstance(name, str) or not name:
        raise ValueError(f"{name!r} is no {what}: give a text that is not empty")
    try:
        encoded = name.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name!r} is no {what}: it has no form in UTF-8") from None
    if len(encoded) > LONGEST:
        raise ValueError(
            f"{name[:40]!r}... is no {what}: it has {len(encoded)} bytes, and at most {LONGEST} go"
        )
    # The tilde is kept for digests, and a leading dot would mean this folder or the one above.
    file = quote(encoded, safe="").replace("~", "%7E")
    if file.startswith("."):
        file = f"%2E{file[1:]}"
    if len(file) <= LONGEST_FILE:
        return file
    return f"{file[: LONGEST_FILE - 33]}~{blake2b(encoded, digest_size=16).hexdigest()}"
