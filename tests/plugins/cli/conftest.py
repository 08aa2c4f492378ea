"""The program as it is called: within this process, or as a process of its own."""

from __future__ import annotations

import io
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from flowdapt_cli.app import program

from flowdapt.plugins import Plugins

from .processes import Process, Served, serving


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
    monkeypatch.setenv("FLOWDAPT_CONTEXTS", str(tmp_path / "contexts.yaml"))


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
