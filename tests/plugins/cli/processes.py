"""The program as a process of its own, whose lines can be waited for; servers among them."""

from __future__ import annotations

import os
import queue
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SECONDS = 120.0  #: until something that should happen counts as not happening

FRUIT = """
    import logging
    import time
    from pathlib import Path

    def pick(n=3):
        print("picking", n)
        return list(range(n))

    def weigh(fruit):
        return {"fruit": fruit, "weight": fruit * 1.25}

    def basket(fruits, *others):
        return {"fruits": fruits, "count": len(fruits)}

    def rot(fruit):
        if fruit == 2:
            raise RuntimeError("it is rotten")
        return fruit

    def drip(file, rotten=False):
        yield {"drop": 1}
        while not Path(file).exists():
            time.sleep(0.01)
        if rotten:
            raise RuntimeError("it is rotten")
        yield {"drop": 2}

    def wait(file):
        print("waiting", flush=True)
        while not Path(file).exists():
            time.sleep(0.01)
        return "done"
"""

RESOURCES = """
    kind: workflow
    metadata: {name: fruit}
    spec:
      stages:
        - {name: pick, target: MODULE.pick}
        - {name: weigh, target: MODULE.weigh, type: parameterized, depends_on: [pick]}
        - {name: basket, target: MODULE.basket, depends_on: [weigh]}
    ---
    kind: workflow
    metadata: {name: rotten}
    spec:
      stages:
        - {name: pick, target: MODULE.pick}
        - name: sort
          target: MODULE.rot
          type: parameterized
          depends_on: [pick]
          options: {allow_partial_failure: false}
    ---
    kind: workflow
    metadata: {name: drip}
    spec:
      stages: [{name: drip, target: MODULE.drip}]
    ---
    kind: workflow
    metadata: {name: patient}
    spec:
      stages: [{name: wait, target: MODULE.wait}]
"""


class Process:
    """The program as a process of its own, whose lines can be waited for."""

    def __init__(
        self,
        *arguments: object,
        folder: Path | None = None,
        stdin: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        command = [sys.executable, "-m", "flowdapt", *map(str, arguments)]
        self._popen = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **(environment or {})},
        )
        assert self._popen.stdin
        self._popen.stdin.write(stdin)
        self._popen.stdin.close()
        self._lines: queue.Queue[str | None] = queue.Queue()
        self.seen: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._popen.stdout
        for line in self._popen.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def line(self, containing: str) -> str:
        """Return the next line with that text in it."""
        while (line := self._next()) is not None:
            if containing in line:
                return line
        raise AssertionError(f"ended without {containing!r}:\n{self.text}")

    def _next(self) -> str | None:
        try:
            line = self._lines.get(timeout=SECONDS)
        except queue.Empty:
            raise AssertionError(f"silent after:\n{self.text}") from None
        if line is not None:
            self.seen.append(line)
        return line

    @property
    def text(self) -> str:
        return "\n".join(self.seen)

    @property
    def pid(self) -> int:
        return self._popen.pid

    def signal(self, number: signal.Signals) -> None:
        self._popen.send_signal(number)

    def status(self) -> int:
        """Return the status, once the process has ended and its lines were read."""
        while self._next() is not None:
            pass
        return self._popen.wait(SECONDS)

    def kill(self) -> None:
        self._popen.kill()
        self._popen.wait()
        self._reader.join(SECONDS)
        assert self._popen.stdout
        self._popen.stdout.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(frozen=True)
class Served:
    """A server that runs, and the folder with its files."""

    process: Process
    address: str
    app_dir: Path
    resources: Path


@contextmanager
def serving(app_dir: Path, *options: object) -> Iterator[Served]:
    """Run a server with workflows of fruit until the context ends."""
    modules = app_dir / "user_modules"
    modules.mkdir(parents=True, exist_ok=True)
    (modules / "fruit.py").write_text(textwrap.dedent(FRUIT))
    resources = app_dir / "fruit.yaml"
    write_resources(resources, "user_modules.fruit")
    process = Process("-d", app_dir, "-o", "rpc.api.port=0", *options, "serve")
    try:
        address = process.line("serves at").split("serves at ")[1].split(",")[0]
        yield Served(process, address, app_dir, resources)
    finally:
        process.kill()


def write_resources(file: Path, module: str) -> None:
    file.write_text(textwrap.dedent(RESOURCES).replace("MODULE", module))
