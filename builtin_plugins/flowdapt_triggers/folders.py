"""Folders, of this machine or elsewhere, as far as it is seen which files are there."""

from __future__ import annotations

import importlib.util
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from flowdapt.errors import nearest

_PROTOCOL = re.compile(r"([a-z][a-z0-9+.-]*)(://|::)", re.IGNORECASE)
_TIMES = ("LastModified", "last_modified", "mtime", "modified", "updated", "created")


class File(NamedTuple):
    """What is seen of a file.

    :ivar path: of a file elsewhere its URL
    :ivar within: the same, within the folder
    :ivar modified: in seconds since 1970; nothing where the file system does not tell
    :ivar came: the same, of when it came to be here, at the latest
    :ivar version: differs where the file has changed
    """

    path: str
    within: str
    size: int
    modified: float | None
    came: float | None
    version: str


class Look(NamedTuple):
    """What is seen at once.

    :ivar troubles: of folders within, of which nothing is seen
    """

    files: list[File]
    troubles: Sequence[OSError] = ()


class Folder(ABC):
    """Where files arrive.

    :param path: or a URL
    :param recursive: whether files of folders within count
    :ivar shown: the path as it can be told
    """

    def __init__(self, path: str, *, recursive: bool) -> None:
        self.path, self.recursive = path, recursive
        self.shown = re.sub(r"(://[^/:@]*):[^/@]*@", r"\1@", path)  # no password is told

    @abstractmethod
    def look(self) -> Look:
        """Return which files are there; it takes its time.

        :raises FileNotFoundError: there is no such folder
        """


class LocalFolder(Folder):
    """A folder of this machine."""

    def look(self) -> Look:
        """Return the files that are there; those within may be in trouble."""
        troubles: list[OSError] = []
        files = list(self._files(self.path, "", troubles))
        return Look(files, troubles)

    def _files(self, folder: str, within: str, troubles: list[OSError]) -> Iterator[File]:
        try:
            entries = list(os.scandir(folder))
        except OSError as error:
            if not within:
                raise
            if not isinstance(error, FileNotFoundError):
                troubles.append(error)
            return
        for entry in entries:
            name = within + entry.name
            if entry.is_dir(follow_symlinks=False):
                if self.recursive and not entry.name.startswith("."):
                    yield from self._files(entry.path, f"{name}/", troubles)
                continue
            try:
                if not entry.is_file():
                    continue
                facts = entry.stat()
            except OSError:  # it went meanwhile, or is a link to something that cannot be seen
                continue
            time = facts.st_mtime
            # What is moved or copied here can have its old time; only the other one is of here.
            came, version = _latest(max(time, facts.st_ctime)), str(facts.st_mtime_ns)
            yield File(entry.path, name, facts.st_size, time, came, version)


class RemoteFolder(Folder):
    """A folder that fsspec reaches.

    :param storage: further arguments of the file system
    """

    def __init__(self, path: str, *, recursive: bool, storage: Mapping[str, Any]) -> None:
        super().__init__(path.rstrip("/"), recursive=recursive)
        self._storage = {**storage, "skip_instance_cache": True}
        self._opened: tuple[Any, str] | None = None

    def look(self) -> Look:
        """Return the files that are there."""
        try:
            return Look(list(self._files()))
        except FileNotFoundError:
            raise
        except Exception:
            self._opened = None  # perhaps the connection is to blame
            raise

    def _files(self) -> Iterator[File]:
        import fsspec  # for who needs it

        if self._opened is None:
            # One of its own: connections such as of FTP cannot be shared between threads.
            self._opened = fsspec.core.url_to_fs(self.path, **self._storage)
        system, root = self._opened
        system.invalidate_cache()  # others write, too
        find = system.find if self.recursive else system.ls
        found = find(root, detail=True)
        for facts in found.values() if isinstance(found, dict) else found:
            within = facts["name"].removeprefix(root).lstrip("/")
            if facts["type"] != "file" or not within or within.endswith("/"):
                continue
            if any(part.startswith(".") for part in within.split("/")[:-1]):
                continue
            time = _time(facts)
            tag = facts.get("ETag") or facts.get("etag") or ""
            version = "-".join(filter(None, (repr(time) if time else "", str(tag).strip('"'))))
            size = int(facts.get("size") or 0)
            came = None if time is None else _latest(time)
            yield File(f"{self.shown}/{within}", within, size, time, came, version)


def opened(path: str, *, recursive: bool, storage: Mapping[str, Any]) -> Folder:
    """Return a folder, without a look at it.

    :param path: or a URL
    :raises ValueError: no file system fits the URL
    """
    protocol = _PROTOCOL.match(path)
    if protocol is None or protocol[1].lower() in ("file", "local"):
        local = path[protocol.end() :] if protocol else path
        return LocalFolder(os.path.abspath(os.path.expanduser(local)), recursive=recursive)
    from fsspec.registry import known_implementations, registry

    name = protocol[1].lower()
    if name not in registry:
        if name not in known_implementations:
            hint = nearest(name, known_implementations)
            raise ValueError(f"there is no file system {name!r}{hint}")
        facts = known_implementations[name]
        if importlib.util.find_spec(facts["class"].partition(".")[0]) is None:
            raise ValueError(facts.get("err", f"the library of {name!r} is not installed"))
    return RemoteFolder(path, recursive=recursive, storage=storage)


def _latest(time: float) -> float:
    """Return the latest that a time can be; some file systems know whole seconds alone."""
    return time + 0.999999 if time.is_integer() else time


def _time(facts: Mapping[str, Any]) -> float | None:
    for value in filter(None, map(facts.get, _TIMES)):
        if isinstance(value, str):
            try:
                value = datetime.fromisoformat(value)  # noqa: PLW2901
            except ValueError:
                continue
        if isinstance(value, datetime):
            return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
        if isinstance(value, int | float):
            return float(value)
    return None
