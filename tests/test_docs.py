"""Runs what the README and the pages in ``docs`` show, each page in a home directory of its own.

A fenced block with a title is a file. Python without one is run; `$` lines in a console block are
run by bash, and what follows them is what they print, with `...` for anything; they may fail where
that is an `Error: `. A server that is started stays in the background until the end of the page.
Where a page has uv install a project, a stand-in for uv does: no page needs an index.
"""

from __future__ import annotations

import doctest
import importlib
import inspect
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import yaml
from flowdapt_triggers.resource import TriggerRule

from flowdapt import hooks
from flowdapt.resources import KINDS, Resource

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PLUGINS = sorted(
    path.name
    for path in (ROOT / "builtin_plugins").iterdir()
    if path.is_dir() and path.name not in ("flowdapt_sets", "flowdapt_workers")  # libraries
)
RUN_SECONDS = 120
KNOWN: dict[str, type[Resource]] = {**KINDS, "trigger_rule": TriggerRule}
ALIKE = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE

#: stands in for uv: notes what is to be installed, and runs programs of these tests' environment
UV = """#!/usr/bin/env bash
site="$PWD/.venv/stand-in"
case "$1" in
sync) mkdir -p "$site" && exec "THIS_PYTHON" -c "
from pathlib import Path
from flowdapt_scaffold.candidates import candidate
candidate(Path(), Path('$site'))" ;;
run) shift; PYTHONPATH="$PWD:$site" exec "$@" ;;
*) PATH="${PATH#*:}" exec uv "$@" ;;
esac
"""

_FENCE = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', flags=re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)#:]+)\)")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    language: str
    title: str
    text: str


def blocks(page: Path) -> list[Block]:
    return [Block(*found) for found in _FENCE.findall(page.read_text())]


@dataclass
class Reader:
    """Somebody who does what a page says, with nothing at home but flowdapt."""

    home: Path

    def __post_init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        stand_ins = self.home / ".stand-ins"
        stand_ins.mkdir()
        (stand_ins / "uv").write_text(UV.replace("THIS_PYTHON", sys.executable))
        (stand_ins / "uv").chmod(0o755)
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("FLOWDAPT", "PYTEST"))}
        self.environment = kept | {
            "HOME": str(self.home),
            "PATH": f"{stand_ins}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONUNBUFFERED": "1",
            "COLUMNS": "100",
            "FLOWDAPT__RPC__API__PORT": str(self.port),
        }

    def write(self, block: Block) -> None:
        file = self.home / block.title
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(block.text)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            check=False,
            cwd=self.home,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=RUN_SECONDS,
        )

    @contextmanager
    def serving(self, commands: list[str]) -> Iterator[None]:
        """Have a server run in the background, started by the first of the commands if any."""
        if not commands:
            yield
            return
        process = subprocess.Popen(
            ["bash", "-c", f"exec {commands[0]}"], cwd=self.home, env=self.environment
        )
        try:
            self._wait(process)
            yield
        finally:
            process.terminate()
            process.wait(RUN_SECONDS)

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + RUN_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            with suppress(httpx.TransportError):
                httpx.get(f"http://127.0.0.1:{self.port}/ping")
                return
        raise AssertionError("the server did not start")


def steps(block: Block) -> list[tuple[str, str]]:
    """Return the commands of a console block, each with what it prints."""
    parts = re.split(r"^\$ (.*)\n", block.text, flags=re.MULTILINE)
    assert not parts[0], f"a console block begins with a command: {parts[0]}"
    return list(zip(parts[1::2], parts[2::2], strict=True))


def is_server(command: str) -> bool:
    return command.startswith("flowdapt ") and command.endswith(" serve")


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", [p for p in PAGES if p.parent.name != "reference"], ids=named)
def test_what_a_page_shows_works(page: Path, tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    todo = iter(blocks(page))

    def follow(until_served: bool) -> list[str]:
        """Do what the blocks say; return the server to start, where one comes."""
        for block in todo:
            if block.title:
                reader.write(block)
            elif block.language == "python":
                source = block.text.replace(":8080", f":{reader.port}")
                done = reader.run(sys.executable, "-c", _importing_here(page, source))
                assert done.returncode == 0, f"{block.text}\n{done.stdout}"
            elif block.language == "console":
                for command, expected in steps(block):
                    if is_server(command):
                        assert until_served, "one server to a page"
                        return [command]
                    check(reader, command, expected)
        return []

    with reader.serving(follow(until_served=True)):
        follow(until_served=False)


def _importing_here(page: Path, source: str) -> str:
    """Return the source as it would run as a script beside each folder that the page made."""
    folders = {
        str(Path(b.title).parent) for b in blocks(page) if b.language == "python" and b.title
    }
    return f"import sys; sys.path[:0] = {sorted(folders)!r}\n" + source


def check(reader: Reader, command: str, expected: str) -> None:
    done = reader.run("bash", "-c", command)
    said = f"$ {command}\n{done.stdout}\nexpected:\n{expected}"
    assert done.returncode == 0 or "Error: " in expected, said
    if expected.strip():
        assert doctest.OutputChecker().check_output(expected, done.stdout, ALIKE), said


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_resources_on_a_page_are_valid(page: Path) -> None:
    for block in blocks(page):
        if block.language == "yaml":
            for document in yaml.safe_load_all(block.text):
                if "kind" in document:
                    kind = KNOWN[document["kind"]]
                    kind.parse(document, where=named(page), strict=True)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_on_a_page_lead_to_files(page: Path) -> None:
    missing = [to for to in _LINK.findall(page.read_text()) if not (page.parent / to).exists()]

    assert not missing


def test_the_walk_names_files_of_the_kernel() -> None:
    walk = (ROOT / "docs" / "explanation" / "the-walk.md").read_text()

    missing = [n for n in re.findall(r"`(\w+\.py)`", walk) if not (ROOT / "flowdapt" / n).exists()]

    assert not missing


def test_the_reference_is_what_the_code_says() -> None:
    command = [sys.executable, str(ROOT / "docs" / "reference.py"), "--check"]

    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=RUN_SECONDS)

    advice = "write the reference anew with: uv run python docs/reference.py"
    assert done.returncode == 0, f"{done.stdout}{done.stderr}\n{advice}"


def test_every_hook_is_in_the_reference_with_all_that_is_said_of_it() -> None:
    page = (ROOT / "docs" / "reference" / "hooks.md").read_text()
    modules = [hooks, *map(importlib.import_module, PLUGINS)]

    specs = {
        name: inspect.getdoc(spec) or ""
        for module in modules
        for name, spec in vars(module).items()
        if inspect.isfunction(spec) and hasattr(spec, f"{hooks.NAMESPACE}_spec")
    }

    assert {"flowdapt_event", "flowdapt_routes", "flowdapt_actions"} <= set(specs)
    for name, said in specs.items():
        section = page.partition(f"## {name}\n")[2].partition("\n## ")[0]
        assert [word for word in _words(said) if word not in _words(section)] == [], name


def _words(text: str) -> list[str]:
    """Return the words of a text, without those of markup: roles, fields and what they name."""
    return re.findall(r"\w{3,}", re.sub(r":[\w ]+:(`[^`]*`)?", "", text))


def test_the_two_commands_of_the_readme_are_those_that_are_checked() -> None:
    readme, checks = (ROOT / "README.md").read_text(), (ROOT / ".ci" / "run").read_text()
    first = "uv run flowdapt dev examples/nowcast --run nowcast --exit"

    for command in (first, "uv run pytest"):
        assert f"{command}\n```" in readme
        assert f"{command}\n" in checks
