"""Dask clusters for tests: a scheduler and workers, each in a process of its own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SECONDS = 120  #: how long a process may take to start or to end

#: each ends with the standard input, and so with the tests
PROGRAM = """
import asyncio, json, logging, sys, threading
import flowdapt
from distributed import Scheduler, Worker

async def main(kind, options):
    logging.getLogger("distributed").setLevel(logging.ERROR)
    flowdapt.__version__ = options.pop("version", flowdapt.__version__)
    loop, ended = asyncio.get_running_loop(), asyncio.Event()

    def read():
        sys.stdin.read()
        loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=read, daemon=True).start()
    async with {"scheduler": Scheduler, "worker": Worker}[kind](**options) as server:
        print(server.address, flush=True)
        ends = [asyncio.ensure_future(end) for end in (ended.wait(), server.finished())]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)

if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], json.loads(sys.argv[2])))
"""


@dataclass
class Server:
    """A scheduler or a worker."""

    process: subprocess.Popen[str]
    address: str

    @classmethod
    def start(cls, kind: str, **options: Any) -> Server:
        """Start one, and wait until it can be reached."""
        common = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, kind, json.dumps(common | options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        return cls(process, process.stdout.readline().strip())

    def kill(self) -> None:
        """End it as a crash does."""
        self.process.send_signal(signal.SIGKILL)
        self.stop()

    def stop(self) -> None:
        """End it, and wait for that."""
        for end in (self.process.stdin, self.process.stdout):
            assert end is not None
            end.close()  # which may have been done before
        try:
            self.process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@dataclass
class DaskServers:
    """A cluster.

    :param folder: with one for each worker
    """

    folder: Path
    scheduler: Server
    workers: dict[str, Server] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """The address of the scheduler."""
        return self.scheduler.address

    def add(self, name: str, **options: Any) -> Server:
        """Start a worker, with a folder of its own as if it were another machine."""
        facts = {"nthreads": 1, "local_directory": str(self.folder / name), "memory_limit": 0}
        worker = Server.start("worker", scheduler_ip=self.address, name=name, **(facts | options))
        self.workers[name] = worker
        return worker

    def restore(self, **workers: dict[str, Any]) -> None:
        """Have exactly these workers, whatever has become of them."""
        for name in [*self.workers]:
            if name not in workers or self.workers[name].process.poll() is not None:
                self.workers.pop(name).stop()
        missing = {name: options for name, options in workers.items() if name not in self.workers}
        with ThreadPoolExecutor() as threads:
            list(threads.map(lambda item: self.add(item[0], **item[1]), missing.items()))

    def stop(self) -> None:
        """End all of it."""
        for server in (*self.workers.values(), self.scheduler):
            server.stop()


@contextmanager
def running(folder: Path, **workers: dict[str, Any]) -> Iterator[DaskServers]:
    """Have a cluster with these workers: what is special about each, by its name."""
    servers = DaskServers(folder, Server.start("scheduler"))
    try:
        servers.restore(**workers)
        yield servers
    finally:
        servers.stop()
