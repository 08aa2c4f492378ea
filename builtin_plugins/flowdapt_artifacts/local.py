"""The local disk, or what is mounted there."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import lru_cache
from typing import IO

from flowdapt_artifacts.files import Facts, Files
from flowdapt_artifacts.manifests import Digest

ABSENT = (FileNotFoundError, NotADirectoryError)
LOCK = ".lock"  #: after the name of a folder that is claimed


class LocalFiles(Files):
    """Moves files by renaming them, and has locks of the system, which end with a process."""

    protocol = "file"

    def read(self, path: str) -> bytes:
        with open(path, "rb", buffering=0) as stream:
            return stream.read()

    def checked(self, path: str, digest: Digest) -> tuple[bytes, str]:
        with open(path, "rb", buffering=0) as stream:
            stat = os.fstat(stream.fileno())
            data = stream.read()
        sound = _found_sound(path, stat.st_ino, stat.st_ctime_ns, digest)
        if not sound or len(data) != digest.size:
            if fault := digest.fault(data):
                return data, fault
            sound.append(True)
        return data, ""

    @contextmanager
    def writing(self, path: str) -> Iterator[IO[bytes]]:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w+b") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())

    def replace(self, path: str, data: bytes, draft: str) -> None:
        new = f"{draft}/{os.path.basename(path)}"
        with self.writing(new) as stream:
            stream.write(data)
        self.move({new: path})

    def move(self, pairs: Mapping[str, str]) -> None:
        for folder in {os.path.dirname(target) for target in pairs.values()}:
            os.makedirs(folder, exist_ok=True)
        for source, target in pairs.items():
            os.replace(source, target)

    def hide(self, folder: str, draft: str) -> bool:
        os.rename(folder, draft)
        return True

    def copy(self, pairs: Mapping[str, str]) -> None:
        for source, target in pairs.items():
            os.makedirs(os.path.dirname(target), exist_ok=True)
            try:
                os.link(source, target)  # files are replaced, never written to again
            except OSError as error:
                if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS):
                    raise
                shutil.copyfile(source, target)

    def folders(self, path: str) -> list[str]:
        with suppress(*ABSENT), os.scandir(path) as entries:
            return [entry.name for entry in entries if entry.is_dir()]
        return []

    def files(self, path: str) -> Mapping[str, Facts]:
        with suppress(*ABSENT), os.scandir(path) as entries:
            return {e.name: _facts(e.stat()) for e in entries if e.is_file()}
        return {}

    def names(self, path: str) -> set[str]:
        with suppress(*ABSENT):
            return {*os.listdir(path)}
        return set()

    def remove(self, paths: Iterable[str]) -> None:
        for path in paths:
            with suppress(*ABSENT):
                os.unlink(path)

    def remove_folder(self, path: str) -> None:
        with suppress(*ABSENT):
            shutil.rmtree(path)

    def remove_empty(self, path: str) -> None:
        with suppress(*ABSENT):
            os.rmdir(path)

    @contextmanager
    def locked(self, path: str) -> Iterator[None]:
        descriptor = _acquired(path, wait=True)
        try:
            yield
        finally:
            _release(path, descriptor)

    def claimed(self, folder: str) -> AbstractContextManager[None]:
        return self.locked(folder + LOCK)

    def abandoned(self, folder: str, age: float) -> bool:  # noqa: ARG002 - it is known here
        try:
            _release(folder + LOCK, _acquired(folder + LOCK, wait=False))
        except BlockingIOError:
            return False
        return True


@lru_cache(2**16)
def _found_sound(path: str, inode: int, changed: int, digest: Digest) -> list[bool]:  # noqa: ARG001
    """Return a list with something in it, once this process has checked the file.

    To compute a digest takes longer than to read what it is of, and who loads thousands of models
    over and over need not wait for that each time. Nobody can write to a file, or put another in
    its place, without a change of these numbers.
    """
    return []


def _facts(stat: os.stat_result) -> Facts:
    return Facts(stat.st_size, stat.st_mtime)


def _acquired(path: str, *, wait: bool) -> int:
    """Return the descriptor of a file that this process has locked.

    :raises BlockingIOError: another has it, and it is not waited for
    """
    while True:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:
            continue  # a sweep took the empty folder away
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                    return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # who had it before removed the file; the lock is another one now


def _release(path: str, descriptor: int) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)
    os.close(descriptor)
