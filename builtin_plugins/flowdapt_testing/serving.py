"""A server in a process of its own, as people start one, until a test is done with it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from flowdapt.client import Client

START_SECONDS = 120.0  #: how long a server may take to be up
STOP_SECONDS = 30.0  #: and to stop, until it is killed
UP = " serves at "  #: stands in the line that says that a server is up


@dataclass
class Served:
    """A server that runs.

    :param address: such as ``http://127.0.0.1:40123``
    :param app_dir: the folder with its files
    :param client: a client of it
    :param lines: what it has written so far
    """

    address: str
    app_dir: Path
    client: Client
    lines: list[str] = field(repr=False)


@contextmanager
def serving(app_dir: Path, *settings: str) -> Iterator[Served]:
    """Run a server until the context ends.

    :param settings: such as ``services.compute.executor=inline``
    :raises AssertionError: it does not come up; says what it wrote
    """
    overrides = [word for one in ("rpc.api.port=0", *settings) for word in ("-o", one)]
    command = ["-P", "-m", "flowdapt", "-d", str(app_dir), "-c", "-", *overrides, "serve"]
    kept = {key: value for key, value in os.environ.items() if not key.startswith("FLOWDAPT")}
    with subprocess.Popen(
        [sys.executable, *command],
        env=kept | {"PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        lines, up = list[str](), threading.Event()
        reader = threading.Thread(target=_read, args=(process, lines, up), daemon=True)
        reader.start()
        try:
            up.wait(START_SECONDS)
            line = next((line for line in lines if UP in line), None)
            if line is None:
                raise AssertionError("the server did not come up:\n" + "".join(lines))
            address = line.partition(UP)[2].partition(",")[0]
            with Client(address) as client:
                yield Served(address, app_dir, client, lines)
        finally:
            _end(process)
            reader.join(STOP_SECONDS)


def _read(process: subprocess.Popen[str], lines: list[str], up: threading.Event) -> None:
    """Note what a server writes, so that it never waits for somebody to read it."""
    for line in process.stdout or ():
        lines.append(line)
        if UP in line:
            up.set()
    up.set()  # or never


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
