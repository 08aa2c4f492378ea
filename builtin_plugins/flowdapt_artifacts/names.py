"""Which names artifacts, their namespaces and their files may have."""

from __future__ import annotations

import re

LONGEST = 200  #: characters of a name; its drafts have longer ones, and 255 is what systems take
_NAME = re.compile(r"[A-Za-z0-9_-]+")  # with re.fullmatch: "$" lets a line end pass
_FILE = re.compile(r"[^./\\\0-\x1f][^/\\\0-\x1f]*")


def checked(name: str, what: str = "an artifact") -> str:
    """Return the name of an artifact or a namespace, which is also that of a folder.

    :raises ValueError: it is no name; nothing was read or written
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name for {what}: use letters, digits, _ and - only")
    if len(name) > LONGEST:
        raise ValueError(
            f"{name[:40]!r}... is no name for {what}: it has {len(name)} characters, "
            f"and at most {LONGEST} go"
        )
    return name


def is_name(text: str) -> bool:
    """Tell whether a folder can be an artifact's or a namespace's."""
    return _NAME.fullmatch(text) is not None


def checked_file(name: str) -> str:
    """Return the name of a file in an artifact.

    :raises ValueError: it leads elsewhere, or is hidden and so not the user's
    """
    if not isinstance(name, str) or not _FILE.fullmatch(name):
        raise ValueError(
            f"{name!r} is no name for a file of an artifact: leave out slashes, and a leading dot"
        )
    return name
