"""Folders of this machine and of object storages, as far as it is seen which files are there."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

import fsspec

#: names of files that are not whole yet, or nobody's business
UNFINISHED = (".part", ".partial", ".tmp", ".temp", ".crdownload", ".swp", "~")


class File(NamedTuple):
    """What is seen of a file.

    :param stamp: when it came to be what it is, as far as that is known
    """

    path: str
    size: int
    stamp: datetime
    version: str


class Folder:
    """A folder, by its path or its URL.

    :param pattern: of the names that count
    :param storage: further arguments of the file system, for a URL
    :raises ValueError: no file system fits the URL
    """

    def __init__(
        self, place: str, pattern: str, *, recursive: bool, storage: Mapping[str, Any]
    ) -> None:
        self.place, self._pattern, self._recursive = place, pattern, recursive
        self.local = not re.match(r"[a-z][\w+.-]*:", place, re.IGNORECASE)
        if not self.local:
            self._system, self._root = fsspec.core.url_to_fs(place, **storage)

    def files(self) -> list[File]:
        """Return the files that count; none where there is no such folder.

        :raises OSError: it cannot be read, for another reason
        """
        found = self._here() if self.local else self._there()
        return [file for file in found if self._counts(file.path)]

    def _counts(self, path: str) -> bool:
        name = path.rpartition("/")[2]
        if not fnmatchcase(name, self._pattern):
            return False
        hidden = name.startswith((".", "~")) and not self._pattern.startswith((".", "~"))
        return not hidden and not (name.endswith(UNFINISHED) and self._pattern[-1:] in "*")

    def _here(self) -> Iterator[File]:
        for folder, folders, names in os.walk(self.place, onerror=_unless_missing):
            if not self._recursive:
                folders.clear()
            for name in names:
                path = Path(folder, name)
                try:
                    facts = path.stat()
                except FileNotFoundError:  # it went meanwhile
                    continue
                # A file that is moved here keeps the time when it was written, not the other one.
                stamp = datetime.fromtimestamp(max(facts.st_mtime, facts.st_ctime), UTC)
                yield File(str(path), facts.st_size, stamp, str(facts.st_mtime_ns))

    def _there(self) -> Iterator[File]:
        self._system.invalidate_cache()
        try:
            depth = None if self._recursive else 1
            found = self._system.find(self._root, maxdepth=depth, detail=True)
        except FileNotFoundError:
            return
        for path, facts in found.items():
            time = next((facts[key] for key in _TIMES if facts.get(key)), None)
            version = str(facts.get("ETag") or facts.get("etag") or time)
            url = self._system.unstrip_protocol(path)
            yield File(url, int(facts.get("size") or 0), _moment(time), version)


_TIMES = ("LastModified", "last_modified", "mtime", "updated", "created")


def _moment(time: Any) -> datetime:
    """Return a time as some file system has it; now, where it has none."""
    if isinstance(time, datetime):
        return time if time.tzinfo else time.replace(tzinfo=UTC)
    if isinstance(time, int | float):
        return datetime.fromtimestamp(time, UTC)
    if isinstance(time, str):
        return datetime.fromisoformat(time).astimezone(UTC)
    return datetime.now(UTC)


def _unless_missing(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error
