"""The program as it is called: within this process, or as a process of its own."""

from __future__ import annotations

import io
import json
import logging
import os
import queue
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from flowdapt_cli.app import program

from flowdapt.plugins import Plugins

SECONDS = 30.0  #: until something that should happen counts as not happening

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

    def wait(file):
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
    metadata: {name: patient}
    spec:
      stages: [{name: wait, target: MODULE.wait}]
"""


@dataclass(frozen=True)
class Done:
    """What became of one call of the program."""

    status: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


Call = Callable[..., Done]


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep the settings of whoever runs the tests out of them."""
    for name in [name for name in os.environ if name.startswith("FLOWDAPT")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("FLOWDAPT__APP_DIR", str(tmp_path / "app"))


@pytest.fixture(scope="session", autouse=True)
def ctrl_c() -> Iterator[None]:
    """Have Ctrl-C reach the programs that are started; shells ignore it in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def plugins() -> Plugins:
    return Plugins.load(cache_dir=None)


@pytest.fixture
def flowdapt(
    plugins: Plugins, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Call:
    """Call the program within this process."""
    root = logging.getLogger()  # a server sets it up
    monkeypatch.setattr(root, "handlers", [*root.handlers])
    monkeypatch.setattr(root, "level", root.level)

    def call(*arguments: object, stdin: str = "", plugins: Plugins = plugins) -> Done:
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            program(plugins)([str(argument) for argument in arguments], prog_name="flowdapt")
        out, err = capsys.readouterr()
        return Done(int(ended.value.code or 0), out, err)

    return call


class Process:
    """The program as a process of its own, whose lines can be waited for."""

    def __init__(self, *arguments: object, folder: Path | None = None, stdin: str = "") -> None:
        command = [sys.executable, "-m", "flowdapt", *map(str, arguments)]
        self._popen = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
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


@pytest.fixture
def start() -> Iterator[Callable[..., Process]]:
    """Start the program as a process, which ends with the test at the latest."""
    started: list[Process] = []

    def begin(*arguments: object, **options: Any) -> Process:
        started.append(Process(*arguments, **options))
        return started[-1]

    yield begin
    for process in started:
        process.kill()


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


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server that the tests of a module share."""
    with serving(tmp_path_factory.mktemp("served")) as served:
        yield served


@pytest.fixture
def ask(flowdapt: Call, served: Served) -> Call:
    """Call the program with the shared server, which has the workflows of fruit."""
    flowdapt("--server", served.address, "apply", served.resources)

    def call(*arguments: object, **options: Any) -> Done:
        return flowdapt("--server", served.address, *arguments, **options)

    return call
