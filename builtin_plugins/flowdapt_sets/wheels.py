"""Unpacks wheels as their specification has it, and checks what is unpacked.

A wheel is a zip archive: its files go into one folder, and those below ``NAME.data/purelib`` and
``NAME.data/platlib`` as if they stood at the top. ``RECORD`` has a hash for each file. See the
"Binary distribution format" of the Python packaging user guide.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import os
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from packaging.tags import sys_tags
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from flowdapt_sets.errors import SetUnusable

_AT_TOP = ("purelib", "platlib")
_EXECUTABLE = 0o111
MOST_BYTES = 16 << 30  #: that a wheel may hold once it is unpacked

LONGEST = 200  #: characters of a wheel's name, so that a folder takes it and what goes before it


def digest(data: bytes | memoryview) -> str:
    """Return the SHA-256 of a content, in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def named(file: str) -> tuple[str, str]:
    """Return the normalized name and the version that the name of a wheel tells.

    :raises SetUnusable: it is no name of a wheel
    """
    if not file.isprintable() or len(file) > LONGEST:
        raise SetUnusable(f"{file[:LONGEST]!r} is no name of a wheel")
    try:
        name, version, _, _ = parse_wheel_filename(file)
    except InvalidWheelFilename as error:
        raise SetUnusable(f"{file!r} is no name of a wheel: {error}") from None
    return canonicalize_name(name), str(version)


def check_tags(file: str) -> None:
    """Refuse a wheel that is for another Python or another system.

    :raises SetUnusable: saying for which
    """
    *_, tags = parse_wheel_filename(file)
    if not tags & set(sys_tags()):
        wanted = ", ".join(sorted(map(str, tags))[:3])
        ours = next(iter(sys_tags()))
        raise SetUnusable(f"{file} is for {wanted}, and this node is {ours}")


def unpack(content: bytes, file: str, folder: Path) -> None:
    """Unpack a wheel into a folder, beside others.

    :param file: its name, for errors
    :raises SetUnusable: it is no whole wheel, or wants to be somewhere else
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            if (size := sum(member.file_size for member in members)) > MOST_BYTES:
                raise SetUnusable(f"{file} holds {size} bytes; more than {MOST_BYTES} are refused")
            for member in members:
                if (place := _place(member.filename, file)) is not None:
                    with archive.open(member) as packed:
                        _write(packed, folder / place, member.external_attr >> 16)
    except (zipfile.BadZipFile, EOFError, RuntimeError, zlib.error) as error:
        raise SetUnusable(f"{file} is no whole wheel: {error}") from None


def _place(member: str, file: str) -> PurePosixPath | None:
    """Return where a file of a wheel goes; nothing for what has no place in a set."""
    path = PurePosixPath(member)
    if path.is_absolute() or ".." in path.parts or "\\" in member:
        raise SetUnusable(f"{file} holds {member!r}, which is outside of its folder")
    if not path.parts:
        raise SetUnusable(f"{file} holds a file without a name")
    if not path.parts[0].endswith(".data"):
        return path
    # Scripts, headers and data are for an environment; a set is none.
    if len(path.parts) > 2 and path.parts[1] in _AT_TOP:  # noqa: PLR2004 - wheel, part, and the rest
        return PurePosixPath(*path.parts[2:])
    return None


def _write(content: IO[bytes], place: Path, mode: int) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    before = _hash(place) if place.exists() and not _shared(place) else None
    with place.open("wb") as file:
        shutil.copyfileobj(content, file)
    if before is not None and before != _hash(place):
        raise SetUnusable(f"{place.name} is in two wheels of the set, with different content")
    if mode & _EXECUTABLE:
        place.chmod(place.stat().st_mode | _EXECUTABLE)


def _hash(path: Path) -> str:
    """Return the hash of a file as RECORD has it."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").digest()
    return base64.urlsafe_b64encode(found).rstrip(b"=").decode()


def _shared(place: Path) -> bool:
    """Tell whether a file is one that several distributions may bring, such as a README at the top.

    Installers let the last one win.
    """
    return place.suffix != ".py" or place.name == "__init__.py"


def _records(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield each file that the wheels in a folder brought, with its hash as they have it."""
    for record in folder.glob("*.dist-info/RECORD"):
        for row in csv.reader(io.StringIO(record.read_text(encoding="utf-8"))):
            if len(row) > 1 and row[1].startswith("sha256="):
                place = _place(row[0], record.parent.name) if row[0][:2] != ".." else None
                if place is not None:
                    yield folder / place, row[1].removeprefix("sha256=")


def check(folder: Path) -> None:
    """Compare what is in a folder with what its wheels say that they brought.

    :raises SetUnusable: naming the first file that is missing or another
    """
    expected: dict[Path, set[str]] = {}
    for path, known in _records(folder):
        expected.setdefault(path, set()).add(known.rstrip("="))
    for path, hashes in expected.items():
        try:
            found = _hash(path)
        except OSError as error:
            why = error.strerror
            raise SetUnusable(f"{os.path.relpath(path, folder)} cannot be read: {why}") from None
        if found not in hashes:
            raise SetUnusable(f"{os.path.relpath(path, folder)} is not what its wheel brought")
