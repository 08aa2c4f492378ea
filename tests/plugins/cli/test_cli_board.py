"""The table of runs that goes on: what it shows, where there is little room, and with no server."""

from __future__ import annotations

import io
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from flowdapt_cli.board import Board
from rich.console import Console

from flowdapt.client import Client, Event
from flowdapt.events import RUN_FINISHED, RUN_STARTED
from flowdapt.resources import now, timestamp

from .conftest import Call
from .processes import SECONDS, Served, free_port, serving


class Terminal:
    """The program with a terminal of its own, of which can be waited for what it draws."""

    def __init__(self, *arguments: object) -> None:
        self._ours, theirs = pty.openpty()
        self._program = subprocess.Popen(
            [sys.executable, "-m", "flowdapt", *map(str, arguments)],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, "COLUMNS": "120"},
        )
        os.close(theirs)

    def wait_for(self, *words: str) -> None:
        """Read until all words were drawn since the last call."""
        seen, end = "", time.monotonic() + 10 * SECONDS
        while not all(word in seen for word in words):
            assert time.monotonic() < end, f"not drawn: {words}\n{seen[-3000:]}"
            assert select.select([self._ours], [], [], SECONDS)[0], f"not drawn: {words}\n{seen}"
            seen += os.read(self._ours, 100_000).decode()

    def interrupt(self) -> int:
        """Press Ctrl-C, and return the status."""
        self._program.send_signal(signal.SIGINT)
        while select.select([self._ours], [], [], SECONDS)[0]:
            try:
                os.read(self._ours, 100_000)
            except OSError:  # it has ended
                break
        return self._program.wait(SECONDS)

    def close(self) -> None:
        self._program.kill()
        self._program.wait()
        os.close(self._ours)


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def begin(*arguments: object) -> Terminal:
        opened.append(Terminal(*arguments))
        return opened[-1]

    yield begin
    for one in opened:
        one.close()


def begun(ask: Call, *arguments: object) -> str:
    """Start a run, and return its name."""
    return ask("run", *arguments, "--no-wait").out.strip()


def test_top_is_one_table_where_there_is_no_terminal(ask: Call, tmp_path: Path) -> None:
    name = begun(ask, "patient", "--file", tmp_path / "gate")

    people = ask("top", "--limit", "1").out.splitlines()
    scripts = ask("top", "--workflow", "patient", "--limit", "1", "-o", "json").json()
    ask("cancel", name)

    assert people[0].split() == ["run", "workflow", "state", "stage", "started", "took"]
    assert people[1].split()[:4] == [name, "patient", "running", "wait"]
    assert [stage["stage"] for stage in scripts[0]["stages"]] == ["wait"]


def test_runs_that_go_on_come_before_newer_ones_that_ended(ask: Call, tmp_path: Path) -> None:
    name = begun(ask, "patient", "--file", tmp_path / "gate")
    newer = [ask("run", "fruit", "-o", "json").json()["name"] for _ in range(2)]

    runs = ask("top", "--limit", "2", "-o", "json").json()
    ask("cancel", name)

    assert [run["name"] for run in runs] == [name, newer[1]]


def test_top_draws_runs_as_they_go_on(
    ask: Call, served: Served, terminal: Callable[..., Terminal], tmp_path: Path
) -> None:
    top = terminal("--server", served.address, "top")
    top.wait_for("0 in progress", "Ctrl-C ends")

    name = begun(ask, "patient", "--file", tmp_path / "gate")
    top.wait_for(name, "running", "1 in progress")
    (tmp_path / "gate").touch()
    top.wait_for(name, "finished")

    assert top.interrupt() == 130


def test_a_server_that_is_away_is_said_to_be_until_it_is_back(
    flowdapt: Call, terminal: Callable[..., Terminal], tmp_path: Path
) -> None:
    port, folder = free_port(), tmp_path / "served"
    at, server = ("-o", f"rpc.api.port={port}"), ("--server", f"127.0.0.1:{port}")
    with serving(folder, *at) as served:
        flowdapt(*server, "apply", served.resources)
        name = begun(lambda *words: flowdapt(*server, *words), "patient", "--file", tmp_path / "no")
        top = terminal(*server, "top")
        top.wait_for(name, "running")
        # The context ends with a SIGKILL.
    top.wait_for("is away; runs are as they were", name)
    with serving(folder, *at):
        top.wait_for("1 in progress", name, "running")
        (tmp_path / "no").touch()
        top.wait_for("0 in progress", name, "finished")
        assert top.interrupt() == 130


# What is drawn where there is little room


@pytest.fixture
def board() -> Iterator[Board]:
    with Client("127.0.0.1:1") as client:  # of which nothing is asked
        yield Board(client, None, 20)


def tell(board: Board, name: str, state: str, ago: float) -> None:
    """Tell of a run that began so many seconds ago."""
    began = now() - timedelta(seconds=ago)
    ended = state not in ("running", "pending")
    data: dict[str, Any] = {"uid": name, "name": name, "workflow": "w", "state": state}
    data |= {"started_at": timestamp(began), "finished_at": timestamp(now()) if ended else None}
    what = RUN_FINISHED if ended else RUN_STARTED
    told = Event(id=uuid4(), time=now(), type=what, channel="workflows", source="", data=data)
    board.take(told)


def drawn(board: Board, *, columns: int = 80, lines: int) -> list[str]:
    text = io.StringIO()
    console = Console(file=text, width=columns, height=lines, color_system=None)
    console.print(board.draw(lines))
    return [line.rstrip() for line in text.getvalue().splitlines()]


def test_what_the_screen_has_no_room_for_is_counted(board: Board) -> None:
    for i in range(9):
        tell(board, f"r{i}", "finished", ago=9 - i)
    for i in range(3):
        tell(board, f"long{i}", "running", ago=1000 - i)

    lines = drawn(board, lines=6)

    assert len(lines) == 6
    assert lines[0].startswith("http://127.0.0.1:1  3 in progress")
    assert [line.split()[0] for line in lines[3:5]] == ["long0", "long1"]
    assert lines[5] == "... and 10 more, 1 in progress"


def test_each_run_is_one_line_where_the_screen_is_narrow(board: Board) -> None:
    for i in range(5):
        tell(board, f"a-rather-long-name-of-a-run-{i}", "finished", ago=i)

    lines = drawn(board, columns=40, lines=20)

    assert [line.split()[0][-1] for line in lines[3:8]] == ["…"] * 5
    assert lines[8:] == [""]


def test_runs_that_have_ended_give_way_and_those_that_go_on_do_not(board: Board) -> None:
    tell(board, "long", "running", ago=10_000)
    for i in range(30):
        tell(board, f"r{i}", "finished", ago=30 - i)

    names = [run["name"] for run in board.data()]

    assert names == ["long", *(f"r{i}" for i in range(29, 10, -1))]
    assert drawn(board, lines=99)[-1] == ""
