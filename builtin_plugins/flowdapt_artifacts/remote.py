"""Any other file system that fsspec reaches, such as an object storage."""

from __future__ import annotations

import tempfile
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import datetime
from typing import IO, Any

import fsspec

from flowdapt_artifacts.files import Facts, Files

SPOOL_BYTES = 64 * 2**20  #: what is written beyond that waits on the local disk
LEASE_SECONDS = 60.0  #: after which an unchanged lock is that of a writer that is gone
POLL_SECONDS = 0.02


class RemoteFiles(Files):
    """Moves files by copying them, and locks with files that can be made only once.

    :param parameters: of the file system, see fsspec
    """

    def __init__(self, protocol: str, parameters: Mapping[str, Any]) -> None:
        self.protocol, self._parameters = protocol, dict(parameters)

    @property
    def _system(self) -> fsspec.AbstractFileSystem:
        # Asked for each time, because one that a parent process opened cannot be used here.
        return fsspec.filesystem(self.protocol, **self._parameters)

    def read(self, path: str) -> bytes:
        found: bytes = self._system.cat_file(path)
        return found

    def read_all(self, paths: Iterable[str]) -> Mapping[str, bytes]:
        wanted = list(paths)
        system = self._system
        found = system.cat(wanted, on_error="return") if wanted else {}
        by_path = {system._strip_protocol(path): path for path in wanted}
        for error in found.values():
            if isinstance(error, Exception) and not isinstance(error, FileNotFoundError):
                raise error
        return {by_path[at]: data for at, data in found.items() if isinstance(data, bytes)}

    @contextmanager
    def writing(self, path: str) -> Iterator[IO[bytes]]:
        with tempfile.SpooledTemporaryFile(SPOOL_BYTES) as stream:
            yield stream
            stream.seek(0, 2)
            if stream.tell() <= SPOOL_BYTES:
                stream.seek(0)
                self._write(path, stream.read())
                return
            stream.seek(0)
            self._write(path, b"")  # so that its folder is there
            with self._system.open(path, "wb") as target:
                while chunk := stream.read(SPOOL_BYTES):
                    target.write(chunk)

    def replace(self, path: str, data: bytes, draft: str) -> None:  # noqa: ARG002 - it is whole anyway
        self._write(path, data)

    def _write(self, path: str, data: bytes, **options: Any) -> None:
        try:
            self._system.pipe_file(path, data, **options)
        except FileNotFoundError:  # most have no folders to be made, and asking costs a request
            self._system.makedirs(path.rpartition("/")[0], exist_ok=True)
            self._system.pipe_file(path, data, **options)

    def move(self, pairs: Mapping[str, str]) -> None:
        self.copy(pairs)
        self.remove(pairs)

    def hide(self, folder: str, draft: str) -> bool:  # noqa: ARG002
        return False

    def copy(self, pairs: Mapping[str, str]) -> None:
        system = self._system
        if not pairs:
            return
        try:
            system.copy([*pairs], [*pairs.values()])
        except FileNotFoundError:
            for folder in {target.rpartition("/")[0] for target in pairs.values()}:
                system.makedirs(folder, exist_ok=True)
            system.copy([*pairs], [*pairs.values()])

    def folders(self, path: str) -> list[str]:
        return [_name(entry) for entry in self._entries(path) if entry["type"] == "directory"]

    def files(self, path: str) -> Mapping[str, Facts]:
        entries = (entry for entry in self._entries(path) if entry["type"] == "file")
        found = {_name(entry): Facts(entry["size"] or 0, _changed(entry)) for entry in entries}
        found.pop("", None)  # a file that stands for the folder itself
        return found

    def names(self, path: str) -> set[str]:
        return {_name(entry) for entry in self._entries(path)} - {""}

    def _entries(self, path: str) -> list[dict[str, Any]]:
        system = self._system
        system.invalidate_cache(path)  # others write, too
        with suppress(FileNotFoundError, NotADirectoryError):
            found: list[dict[str, Any]] = system.ls(path, detail=True)
            return found
        return []

    def remove(self, paths: Iterable[str]) -> None:
        wanted, system = list(paths), self._system
        if len(wanted) > 1:
            with suppress(FileNotFoundError):
                system.rm(wanted)  # many in one request
                return
        for path in wanted:
            with suppress(FileNotFoundError):
                system.rm_file(path)

    def remove_folder(self, path: str) -> None:
        system = self._system
        system.invalidate_cache(path)
        with suppress(FileNotFoundError):
            system.rm(path, recursive=True)

    def remove_empty(self, path: str) -> None:
        pass  # there is none

    @contextmanager
    def locked(self, path: str) -> Iterator[None]:
        mine = uuid.uuid4().hex.encode()
        seen, since = b"", time.monotonic()
        while not self._made(path, mine):
            with suppress(FileNotFoundError):
                other = self.read(path)
                if other != seen:
                    seen, since = other, time.monotonic()
                elif time.monotonic() - since > LEASE_SECONDS:
                    self.remove([path])  # whoever had it is gone
            time.sleep(POLL_SECONDS)
        over = threading.Event()
        renewing = threading.Thread(target=self._renew, args=(path, mine, over), daemon=True)
        renewing.start()
        try:
            yield
        finally:
            over.set()
            renewing.join()
            with suppress(FileNotFoundError):
                if self.read(path).startswith(mine):  # else we hung, and somebody broke the lock
                    self.remove([path])

    def _renew(self, path: str, mine: bytes, over: threading.Event) -> None:
        """Show that whoever has a lock lives, until that is over."""
        while not over.wait(LEASE_SECONDS / 4):
            with suppress(OSError):  # the next time, then
                if self.read(path).startswith(mine):
                    self._write(path, mine + uuid.uuid4().hex.encode())

    def _made(self, path: str, mine: bytes) -> bool:
        try:
            self._write(path, mine, mode="create")
        except FileExistsError:
            return False
        return True

    def claimed(self, folder: str) -> AbstractContextManager[None]:  # noqa: ARG002
        return nullcontext()

    def abandoned(self, folder: str, age: float) -> bool:
        changes = [facts.changed for facts in self.files(folder).values()]
        if 0.0 in changes:  # a system that knows no times
            return False
        return time.time() - max(changes, default=0.0) >= age


def _name(entry: Mapping[str, Any]) -> str:
    return str(entry["name"]).rstrip("/").rpartition("/")[2]


def _changed(entry: Mapping[str, Any]) -> float:
    for key in ("LastModified", "created", "mtime", "last_modified", "updated"):
        value = entry.get(key)
        if isinstance(value, datetime):
            return value.timestamp()
        if isinstance(value, int | float):
            return float(value)
    return 0.0
