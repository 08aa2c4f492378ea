"""The memory of a cluster for processes that are no part of it, through a socket of their machine.

A gateway serves it, so that the server, scripts beside it and children of stages need not import
Ray or Dask. Requests and answers are pickled tuples; a large block goes along as a file without a
name, which both sides map: it is not copied on its way.
"""

from __future__ import annotations

import asyncio
import errno
import json
import mmap
import os
import pickle
import socket
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any

from flowdapt.context import Address
from flowdapt.errors import MemoryFull
from flowdapt.objects import Buffer, Entry, Memory
from flowdapt_workers import shared
from flowdapt_workers.clusters import ClusterMemory
from flowdapt_workers.parts import INLINE_BYTES

LONGEST = 1024  #: bytes of a namespace or a key
LONGEST_PATH = 100  #: bytes that the address of a socket may have, nearly
TARGET = "flowdapt_workers.sockets:SocketMemory"
AGAIN_SECONDS = 0.1  #: pause where this process has no room for another connection
_BUSY = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ECONNABORTED)


def checked(namespace: str, key: str = "key") -> None:
    """Refuse what is no name.

    :raises ValueError: saying which, and why
    """
    for what, name in (("namespace", namespace), ("key", key)):
        if not isinstance(name, str) or not name:
            raise ValueError(f"{name!r} is no {what}: give a text that is not empty")
        try:
            size = len(name.encode())
        except UnicodeEncodeError:
            raise ValueError(f"{name!r} is no {what}: it has no form in UTF-8") from None
        if size > LONGEST:
            said = f"{name[:40]!r}... is no {what}"
            raise ValueError(f"{said}: it has {size} bytes, and at most {LONGEST} go")


class SocketMemory(Memory):
    """A memory that somebody serves at a socket of this machine.

    :param path: of the socket
    :param target: what other processes attach with; called with the path
    """

    def __init__(self, path: str, *, target: str = TARGET) -> None:
        self.path = path
        self.address = Address(target, json.dumps({"path": path}))
        self._lock = threading.Lock()
        self._end: socket.socket | None = None
        self._pid = 0

    def _ask(self, *request: Any, files: Iterable[int] = ()) -> tuple[Any, list[int]]:
        with self._lock:
            if self._pid != os.getpid():  # a child must not share the connection
                self._drop()
            reply = None
            if self._end is not None:
                with suppress(OSError):  # whoever served it has been replaced
                    reply = self._exchange(self._end, request, files)
            if reply is None:
                self._drop()
                self._end = self._connected()
                with suppress(OSError):
                    reply = self._exchange(self._end, request, files)
        if reply is None:
            raise KeyError(f"the memory at {self.path} is gone")
        answer, found = pickle.loads(reply[0]), reply[1]  # noqa: S301 - from our own gateway
        if isinstance(answer, BaseException):
            raise answer
        return answer, found

    @staticmethod
    def _exchange(
        end: socket.socket, request: Any, files: Iterable[int]
    ) -> tuple[bytes, list[int]] | None:
        shared.send(end, pickle.dumps(request, 5), files)
        return shared.receive(end)

    def _connected(self) -> socket.socket:
        end = socket.socket(socket.AF_UNIX)
        try:
            end.connect(self.path)
        except OSError as error:
            end.close()
            said = f"the memory at {self.path} cannot be reached ({error.strerror})"
            raise KeyError(f"{said}: the server or its cluster is not up") from None
        self._pid = os.getpid()
        return end

    def put(
        self,
        namespace: str,
        key: str,
        pieces: Iterable[Buffer],
        *,
        size: int,
        type: str = "",  # noqa: A002 - of an Entry
        ttl: float | None = None,
    ) -> None:
        """Keep a block, instead of the one that was there."""
        checked(namespace, key)
        if size <= INLINE_BYTES:
            self._ask("put", namespace, key, (b"".join(pieces), type, ttl))
            return
        try:
            file = shared.written(pieces, size)
        except OSError as error:
            said = f"there is no room for {size} bytes in the memory of this machine"
            raise MemoryFull(f"{said}: {error.strerror}") from None
        try:
            self._ask("put", namespace, key, (None, type, ttl), files=[file])
        finally:
            os.close(file)

    def get(self, namespace: str, key: str, *, writable: bool = False) -> memoryview:
        """Return a block, without a copy where it is large."""
        checked(namespace, key)
        block, files = self._ask("get", namespace, key)
        if files:
            access = mmap.ACCESS_COPY if writable else mmap.ACCESS_READ
            return memoryview(shared.Shared.of(files[0], access=access))
        if block is None:
            raise KeyError(f"no object {key!r} in the memory of namespace {namespace!r}")
        return memoryview(bytearray(block) if writable else block)

    def exists(self, namespace: str, key: str) -> bool:
        """Tell whether a block is there."""
        checked(namespace, key)
        return bool(self._ask("exists", namespace, key)[0])

    def delete(self, namespace: str, key: str) -> None:
        """Remove a block; silent if it is not there."""
        checked(namespace, key)
        self._ask("delete", namespace, key)

    def list(self, namespace: str | None = None) -> Iterator[Entry]:
        """Yield what is there, in one namespace or in all but those that begin with a dot."""
        yield from self._ask("list", namespace)[0]

    def clear(self, namespace: str) -> None:
        """Remove a namespace with all that is in it."""
        checked(namespace)
        self._ask("clear", namespace)

    def stats(self) -> dict[str, Any]:
        """Return facts such as ``used`` and ``capacity``, in bytes."""
        return dict(self._ask("stats")[0])

    def close(self) -> None:
        """Let go of the connection."""
        with self._lock:
            self._drop()

    def _drop(self) -> None:
        """Close the connection, of which a parent or a child may have a copy."""
        if self._end is not None:
            self._end.close()
            self._end = None

    def __del__(self) -> None:
        self._drop()


def outside(app_dir: Path, *, target: str) -> SocketMemory:
    """Return a server's view of the memory of its cluster, which its gateway will serve.

    :param target: what other processes attach with; called with the path
    """
    return SocketMemory(str(socket_path(app_dir.absolute() / "memory.sock")), target=target)


def socket_path(path: Path) -> Path:
    """Return where a socket can be that would be at a path, which may be too long for one."""
    if len(os.fsencode(path)) <= LONGEST_PATH:
        return path
    folder = Path(tempfile.gettempdir()) / f"flowdapt-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise ValueError(f"{folder} is another user's; set TMPDIR to a folder of your own")
    return folder / f"{blake2b(os.fsencode(path), digest_size=8).hexdigest()}.sock"


class MemorySocket:
    """Serves a cluster's memory at a socket, for as long as its process lives.

    :param path: of the socket; only this user can use it
    """

    def __init__(self, memory: ClusterMemory, path: Path) -> None:
        self._memory, self.path = memory, path
        self._loop = asyncio.get_running_loop()
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        self._end = socket.socket(socket.AF_UNIX)
        self._end.bind(str(path))
        path.chmod(0o600)
        self._end.listen()
        threading.Thread(target=self._accept, daemon=True, name="memory").start()

    def close(self) -> None:
        """Take no more connections."""
        with suppress(OSError):
            self._end.shutdown(socket.SHUT_RDWR)  # or who waits for one would wait for ever
        self._end.close()
        self.path.unlink(missing_ok=True)

    def _accept(self) -> None:
        while True:
            try:
                end, _ = self._end.accept()
            except OSError as error:
                if self._end.fileno() < 0 or error.errno not in _BUSY:  # it was closed
                    return
                time.sleep(AGAIN_SECONDS)
                continue
            threading.Thread(target=self._serve, args=(end,), daemon=True).start()

    def _serve(self, end: socket.socket) -> None:
        with end, suppress(OSError):  # whoever asked may be gone before the answer
            while (request := shared.receive(end)) is not None:
                message, files = request
                what, *args = pickle.loads(message)  # noqa: S301 - the socket is the user's own
                answer: Any
                try:
                    work = getattr(self, f"_{what}")(*args, *files)
                    answer = asyncio.run_coroutine_threadsafe(work, self._loop).result()
                except (KeyError, MemoryFull) as error:
                    answer = error
                except Exception as error:
                    answer = KeyError(f"the memory of the cluster: {type(error).__name__}: {error}")
                self._reply(end, answer)

    def _reply(self, end: socket.socket, answer: Any) -> None:
        if not isinstance(answer, memoryview) or answer.nbytes <= INLINE_BYTES:
            plain = bytes(answer) if isinstance(answer, memoryview) else answer
            shared.send(end, pickle.dumps(plain, 5))
            return
        file, ours = shared.as_file(answer)
        try:
            shared.send(end, pickle.dumps(None, 5), [file])
        finally:
            if ours:
                os.close(file)

    async def _put(self, namespace: str, key: str, given: Any, file: int = -1) -> None:
        block, kind, ttl = given
        found = memoryview(shared.Shared.of(file) if block is None else block)
        await self._memory.put(namespace, key, found, type=kind, ttl=ttl)

    async def _get(self, namespace: str, key: str) -> memoryview | None:
        return await self._memory.get(namespace, key)

    async def _exists(self, namespace: str, key: str) -> bool:
        return await self._memory.exists(namespace, key)

    async def _delete(self, namespace: str, key: str) -> None:
        await self._memory.delete(namespace, key)

    async def _list(self, namespace: str | None) -> list[Entry]:
        return list(await self._memory.list(namespace))

    async def _clear(self, namespace: str) -> None:
        await self._memory.clear(namespace)

    async def _stats(self) -> dict[str, Any]:
        return await self._memory.stats()
