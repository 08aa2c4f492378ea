"""Contract: what artifacts need of a file system, in terms of whole files and many at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from typing import IO, NamedTuple

from flowdapt_artifacts.manifests import Digest


class Facts(NamedTuple):
    """What a file system knows of a file.

    :param changed: seconds since 1970; 0 where it does not know
    """

    size: int
    changed: float


class Files(ABC):
    """A file system. Paths are as it has them, with ``/`` between names; folders need not be made.

    Who reads a file while it is written, moved or copied gets it whole, or the one before.
    """

    protocol: str

    @abstractmethod
    def read(self, path: str) -> bytes:
        """Return what is in a file.

        :raises FileNotFoundError: there is none
        """

    def read_all(self, paths: Iterable[str]) -> Mapping[str, bytes]:
        """Return what is in those of the files that are there."""
        found = {}
        for path in paths:
            try:
                found[path] = self.read(path)
            except (FileNotFoundError, NotADirectoryError):
                continue
        return found

    def checked(self, path: str, digest: Digest) -> tuple[bytes, str]:
        """Return what is in a file, and what is wrong with it, see :meth:`Digest.fault`.

        :raises FileNotFoundError: there is none
        """
        data = self.read(path)
        return data, digest.fault(data)

    @abstractmethod
    def writing(self, path: str) -> AbstractContextManager[IO[bytes]]:
        """Open a file to write it anew, and anywhere in it; it is safe once the context ends."""

    @abstractmethod
    def replace(self, path: str, data: bytes, draft: str) -> None:
        """Write a small file that others read meanwhile.

        :param draft: a folder of the writer's own
        """

    @abstractmethod
    def move(self, pairs: Mapping[str, str]) -> None:
        """Move files, from the keys to the values; others may read either meanwhile."""

    @abstractmethod
    def hide(self, folder: str, draft: str) -> bool:
        """Move a folder to where nothing is, all at once; False where that cannot be done."""

    @abstractmethod
    def copy(self, pairs: Mapping[str, str]) -> None:
        """Copy files that nobody writes to; there is nothing at the target."""

    @abstractmethod
    def folders(self, path: str) -> list[str]:
        """Return the names of the folders in a folder; none if there is no such folder."""

    @abstractmethod
    def files(self, path: str) -> Mapping[str, Facts]:
        """Return the files in a folder; none if there is no such folder."""

    def names(self, path: str) -> set[str]:
        """Return the names of all that is in a folder."""
        return {*self.folders(path), *self.files(path)}

    @abstractmethod
    def remove(self, paths: Iterable[str]) -> None:
        """Remove files; silent about those that are not there."""

    @abstractmethod
    def remove_folder(self, path: str) -> None:
        """Remove a folder with all in it; silent if it is not there."""

    @abstractmethod
    def remove_empty(self, path: str) -> None:
        """Remove a folder that nothing is in, where it is there without a file."""

    @abstractmethod
    def locked(self, path: str) -> AbstractContextManager[None]:
        """Wait until nobody else has the lock of that name, and have it."""

    @abstractmethod
    def claimed(self, folder: str) -> AbstractContextManager[None]:
        """Let others know that a folder is in use, as long as this process lives."""

    @abstractmethod
    def abandoned(self, folder: str, age: float) -> bool:
        """Tell whether who claimed a folder is gone.

        :param age: seconds without a change after which that is believed where it cannot be known
        """
