"""Stores to compare with, each run as a script by the Python of an environment that has it.

Needs nothing but numpy and the library itself. Once a store is up, one line of JSON says so or why
it cannot be; then each line of standard input is answered by what every call took.
"""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

ARRAY = np.random.default_rng(7).random(12_500_000)  #: 100 MB
SMALL = {f"key{n}": "v" * 24 for n in range(32)}  #: about 1 KB as a pickle
CALLS = 300  #: with the small value, of each turn
SPAWN = get_context("spawn")


class Store(ABC):
    """Something that takes values in this process and gives them to others.

    Attributes have to be such that the store can be pickled: its copy reads in another process.
    """

    def start(self) -> None:  # noqa: B027 - there may be nothing to do
        """Have all of it up but the reader.

        :raises Exception: it cannot be used, and why
        """

    def stop(self) -> None:  # noqa: B027
        """End what was started."""

    @abstractmethod
    def put(self, key: str, value: Any) -> Any:
        """Keep a value; return what the reader is to ask with."""

    @abstractmethod
    def get(self, token: Any) -> Any:
        """Return the value, in the reader."""

    def join(self) -> None:  # noqa: B027
        """Prepare the reader."""

    def drop(self) -> None:  # noqa: B027
        """Let go of what the reader got, if that is not done by itself."""

    # How it is read elsewhere; Ray has processes of its own ---------------------------------------

    def start_reader(self) -> None:
        """Start the process that reads."""
        self._end, theirs = SPAWN.Pipe()
        self._reader = SPAWN.Process(target=_read, args=(theirs, self), daemon=True)
        self._reader.start()

    def read(self, token: Any) -> tuple[float, float]:
        """Have the reader get a value, and read all of it if it is an array.

        :return: seconds until it had it, and until it had read it
        """
        self._end.send(token)
        taken: tuple[float, float] = self._end.recv()
        return taken

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if not key.startswith("_")}


def _read(pipe: Any, store: Store) -> None:
    store.join()
    while True:
        pipe.send(timed(store, pipe.recv()))
        store.drop()


def timed(store: Store, token: Any) -> tuple[float, float]:
    """Return how long a store takes to get a value, and to read it."""
    begun = time.perf_counter()
    value = store.get(token)
    got = time.perf_counter() - begun
    if isinstance(value, np.ndarray):
        value.sum()
    return got, time.perf_counter() - begun


class Flowdapt(Store):
    """This project's objects, in memory."""

    def start(self) -> None:
        from flowdapt_memory.owners import OwnMemory

        self.folder = tempfile.mkdtemp()
        self._own = OwnMemory(app_dir=Path(self.folder))
        self.address = tuple(self._own.address)
        self.join()

    def join(self) -> None:
        from flowdapt.context import Address, Places, WorkflowRunContext, set_run_context

        places = Places(Address(*self.address), None, "cluster_memory")
        set_run_context(WorkflowRunContext(objects=places))

    def stop(self) -> None:
        self._own.close()
        shutil.rmtree(self.folder)

    def put(self, key: str, value: Any) -> Any:
        from flowdapt import objects

        objects.put(key, value)
        return key

    def get(self, token: Any) -> Any:
        from flowdapt import objects

        return objects.get(token)


class SharedMemory(Store):
    """``multiprocessing.shared_memory``: a new segment for each value, and no names for them."""

    def start(self) -> None:
        self._kept: dict[str, Any] = {}

    def put(self, key: str, value: Any) -> Any:
        from multiprocessing.shared_memory import SharedMemory as Segment

        if key in self._kept:
            self._kept[key].close()
            self._kept[key].unlink()
        data = value if isinstance(value, np.ndarray) else np.frombuffer(pickle.dumps(value), "u1")
        segment = self._kept[key] = Segment(create=True, size=data.nbytes)
        np.copyto(np.ndarray(data.shape, data.dtype, segment.buf), data)
        return segment.name, data.shape, str(data.dtype)

    def get(self, token: Any) -> Any:
        from multiprocessing.shared_memory import SharedMemory as Segment

        name, shape, dtype = token
        self._segment = Segment(name)
        array: Any = np.ndarray(shape, dtype, self._segment.buf)
        return array if dtype == "float64" else pickle.loads(array)

    def drop(self) -> None:
        self._segment.close()

    def stop(self) -> None:
        for segment in self._kept.values():
            segment.close()
            segment.unlink()


class Ray(Store):
    """``ray.put``, and ``ray.get`` in an actor."""

    def start(self) -> None:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        self._ray = import_module("ray")
        self._ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)

    def start_reader(self) -> None:
        ray = self._ray

        class Reader:
            def read(self, refs: list[Any]) -> tuple[float, float]:
                begun = time.perf_counter()
                value = ray.get(refs[0])
                got = time.perf_counter() - begun
                if hasattr(value, "sum"):
                    value.sum()
                return got, time.perf_counter() - begun

        self._actor = ray.remote(Reader).remote()

    def read(self, token: Any) -> tuple[float, float]:
        taken: tuple[float, float] = self._ray.get(self._actor.read.remote([token]))
        return taken

    def put(self, key: str, value: Any) -> Any:
        return self._ray.put(value)

    def get(self, token: Any) -> Any:
        raise NotImplementedError

    def stop(self) -> None:
        self._ray.shutdown()


class Redis(Store):
    """A Redis server that keeps nothing on disk, over a socket in the file system."""

    def start(self) -> None:
        import_module("redis")  # whoever has not got it is told
        if not (server := shutil.which("redis-server")):
            raise LookupError("there is no redis-server in the path")
        self.folder = tempfile.mkdtemp()
        path = f"{self.folder}/socket"
        command = [server, "--port", "0", "--unixsocket", path, "--save", "", "--dir", self.folder]
        self._server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        while not os.path.exists(path):
            time.sleep(0.01)
        self.join()

    def join(self) -> None:
        self._client = import_module("redis").Redis(unix_socket_path=f"{self.folder}/socket")

    def stop(self) -> None:
        self._server.kill()
        self._server.wait()
        shutil.rmtree(self.folder)

    def put(self, key: str, value: Any) -> Any:
        array = isinstance(value, np.ndarray)
        self._client.set(key, memoryview(value).cast("B") if array else pickle.dumps(value))
        return key, array

    def get(self, token: Any) -> Any:
        key, array = token
        data = self._client.get(key)
        return np.frombuffer(data) if array else pickle.loads(data)


class Original(Store):
    """The cluster memory of flowdapt's local executor up to 0.1.52: a dictionary in its server."""

    def start(self) -> None:
        from flowdapt.compute.executor.local import cluster_memory  # noqa: F401

        self.folder = tempfile.mkdtemp()
        self.path = f"{self.folder}/socket"
        self._server = SPAWN.Process(target=_serve_original, args=(self.path,), daemon=True)
        self._server.start()
        while not os.path.exists(self.path):
            time.sleep(0.01)
        self.join()

    def join(self) -> None:
        from flowdapt.compute.executor.local.cluster_memory import ClusterMemoryClient

        self._client = ClusterMemoryClient(self.path)

    def stop(self) -> None:
        self._server.kill()
        self._server.join()
        shutil.rmtree(self.folder)

    def put(self, key: str, value: Any) -> Any:
        self._client.put(key, value, namespace="default")
        return key

    def get(self, token: Any) -> Any:
        return self._client.get(token, namespace="default")


def _serve_original(path: str) -> None:
    from flowdapt.compute.executor.local.cluster_memory import ClusterMemoryServer

    async def serve() -> None:
        await ClusterMemoryServer(path).start()
        await asyncio.Event().wait()

    asyncio.run(serve())


STORES: dict[str, type[Store]] = {
    "flowdapt": Flowdapt,
    "shared_memory": SharedMemory,
    "ray": Ray,
    "redis": Redis,
    "flowdapt-0.1.52": Original,
}


def turn(store: Store, large: int = 5) -> dict[str, float]:
    """Put and get both values some times; return the medians, in units that the names say."""
    arrays = []
    for _ in range(large):
        begun = time.perf_counter()
        token = store.put("large", ARRAY)
        arrays.append((time.perf_counter() - begun, *store.read(token)))
    smalls = []
    for _ in range(CALLS):
        begun = time.perf_counter()
        token = store.put("small", SMALL)
        smalls.append((time.perf_counter() - begun, *store.read(token)))
    put, get, read = (statistics.median(times) for times in zip(*arrays, strict=True))
    small_put, small_get, _ = (statistics.median(times) for times in zip(*smalls, strict=True))
    return {
        "put_100MB_ms": put * 1e3,
        "get_100MB_ms": get * 1e3,
        "get_and_sum_100MB_ms": read * 1e3,
        "put_1KB_us": small_put * 1e6,
        "get_1KB_us": small_get * 1e6,
    }


def main(name: str) -> None:
    """Start a store, and take turns as long as it is told to."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    store = STORES[name]()

    def say(answer: object) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    try:
        store.start()
        store.start_reader()
    except Exception as error:
        say({"left_out": f"{type(error).__name__}: {error}"})
        return
    say({})
    for _ in sys.stdin:
        say(turn(store))
    store.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
