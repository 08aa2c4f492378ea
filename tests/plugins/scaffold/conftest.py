"""The program, called within this process, and projects as if they were installed."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from flowdapt_cli.app import program

from flowdapt.plugins import Plugins


@dataclass(frozen=True)
class Done:
    """What became of one call of the program."""

    status: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


Call = Callable[..., Done]


class Terminal(io.StringIO):
    """Standard input from somebody who sits there and types."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Be in an empty folder, without the settings of whoever runs the tests."""
    for name in [name for name in os.environ if name.startswith("FLOWDAPT")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def plugins() -> Plugins:
    return Plugins.load(safe_mode=True)


@pytest.fixture
def flowdapt(
    plugins: Plugins, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Call:
    """Call ``flowdapt plugins`` with these arguments."""

    def call(*arguments: object, typed: str | None = None) -> Done:
        monkeypatch.setattr(sys, "stdin", io.StringIO() if typed is None else Terminal(typed))
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            program(plugins)(["plugins", *map(str, arguments)], prog_name="flowdapt")
        out, err = capsys.readouterr()
        return Done(int(ended.value.code or 0), out, err)

    return call
