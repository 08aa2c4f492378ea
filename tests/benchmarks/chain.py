"""A hundred stages that do nothing, one after another, every completion stored."""

from __future__ import annotations

import os
import socket
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tests.benchmarks.measuring import Figure, in_turns
from tests.benchmarks.servers import app_dir, engine, run, stage, workflow

STAGES = 100
CHAIN = workflow(
    "chain",
    stage("s0", "step"),
    *(stage(f"s{i}", "step", f"s{i - 1}") for i in range(1, STAGES)),
)


async def measure(repeat: int) -> list[Figure]:
    """Compare with what cannot be left out: a message there and back, and a commit, per stage."""
    with _bare() as floor:
        async with engine(CHAIN) as under_test:
            pairs = await in_turns(lambda: run(under_test, "chain"), floor, repeat)
    facts = {
        "ours_ms_a_stage": pairs.ours_s / STAGES * 1e3,
        "fastest_ms_a_stage": min(pairs.ours) / STAGES * 1e3,
        "floor_ms_a_stage": pairs.floor_s / STAGES * 1e3,
    }
    return [
        Figure("chain", pairs.ours_s / STAGES * 1e3, 0.5, unit="ms/stage", facts=facts),
        Figure("chain, of message and commit", pairs.ratio),
    ]


@contextmanager
def _bare() -> Iterator[Callable[[], None]]:
    """Yield what sends a byte to a process and back, and commits a row, for each stage."""
    ours, theirs = socket.socketpair()
    child = os.fork()  # before anything starts threads
    if child == 0:
        ours.close()
        while data := theirs.recv(1):
            theirs.send(data)
        os._exit(0)
    theirs.close()
    with app_dir() as folder, closing(_database(folder / "floor.db")) as db:

        def chain() -> None:
            for i in range(STAGES):
                ours.send(b".")
                ours.recv(1)
                db.execute("INSERT INTO stages VALUES (?)", (i,))

        yield chain
    ours.close()
    os.waitpid(child, 0)


def _database(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute("CREATE TABLE stages (number INTEGER)")
    return db
