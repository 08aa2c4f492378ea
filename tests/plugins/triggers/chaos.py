"""Kills a server again and again while many schedules are due each second.

    python -m tests.plugins.triggers.chaos --kills 50

In the end, every time of every schedule since it was applied has to have been fired for, with
exactly one run, or to be on record as missed.
"""

# ruff: noqa: T201 - a program that tells what it counted

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from flowdapt_sqlite.storage import SqliteStorage

from flowdapt.plugins import Plugins
from flowdapt.server import Server
from flowdapt.settings import Settings
from flowdapt.storage import EventQuery, RunQuery

POLICIES = ("skip", "once", "all")
LIFE_SECONDS, AWAY_SECONDS = 3.0, 7.0  #: of a server, and without one; at most
SECOND = timedelta(seconds=1)


@dataclass
class Counts:
    """What came of it."""

    kills: int = 0
    times: int = 0
    fired: int = 0
    missed: int = 0
    fired_twice: int = 0
    fired_and_missed: int = 0
    runs_without_firing: int = 0
    firings_without_run: int = 0
    unaccounted: int = 0


def settings(folder: Path) -> Settings:
    """Return the settings of the server: it computes within its own process."""
    compute = {"executor": "inline"}
    return Settings.model_validate({"app_dir": folder, "services": {"compute": compute}})


def trigger(number: int) -> dict[str, Any]:
    """Return a trigger that is due each second."""
    return {
        "kind": "trigger_rule",
        "metadata": {"name": f"t{number}"},
        "spec": {
            "type": "schedule",
            "rule": ["* * * * * * *"],
            "misfire": POLICIES[number % len(POLICIES)],
            "action": {"target": "run_workflow", "parameters": {"workflow": "farm"}},
        },
    }


async def serve(folder: Path, triggers: int) -> None:
    """Serve until there is something on standard input, or the end of it."""
    plugins = Plugins.load(safe_mode=True)
    async with Server(settings(folder), plugins, only=frozenset({"triggers"})) as server:
        stages = [{"name": "a", "target": "builtins.dict"}]
        await server.engine.apply(
            {"kind": "workflow", "metadata": {"name": "farm"}, "spec": {"stages": stages}}
        )
        for number in range(triggers):
            await server.engine.apply(trigger(number))
        print("up", flush=True)
        await asyncio.to_thread(sys.stdin.readline)


def begin(folder: Path, triggers: int) -> subprocess.Popen[str]:
    """Start a server; return once it is up."""
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "tests.plugins.triggers.chaos",
            "--serve",
            str(folder),
            "--triggers",
            str(triggers),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stdout.readline() == "up\n"
    return process


def campaign(folder: Path, kills: int, triggers: int, seed: int) -> Counts:
    """Kill so often, and count what came of it."""
    chance = random.Random(seed)
    for _ in range(kills):
        process = begin(folder, triggers)
        time.sleep(chance.uniform(0.2, LIFE_SECONDS))  # it may be at any moment of a second
        process.send_signal(signal.SIGKILL)
        process.communicate()
        time.sleep(chance.choice([0.0, chance.uniform(0, AWAY_SECONDS)]))
    process = begin(folder, triggers)
    time.sleep(2)
    process.communicate("stop\n")
    return asyncio.run(counted(folder, kills))


async def counted(folder: Path, kills: int) -> Counts:
    """Compare what was due with what is on record."""
    storage = SqliteStorage(app_dir=folder)
    await storage.start()
    try:
        events = await all_events(storage)
        runs = {one.run.uid.hex for one in await storage.list_runs(RunQuery(limit=None))}
    finally:
        await storage.stop()
    counts = Counts(kills=kills)
    told: dict[str, Counter[datetime]] = {}
    missed: dict[str, Counter[datetime]] = {}
    begun = set()
    for event in events:
        data, name = event["data"], event["data"]["trigger"]
        if event["type"].endswith("fired"):
            told.setdefault(name, Counter())[datetime.fromisoformat(data["due"])] += 1
            begun.add(data["run"].replace("-", ""))
        elif event["type"].endswith("missed"):
            first, last = (datetime.fromisoformat(data[at]) for at in ("first", "last"))
            times = [first + n * SECOND for n in range(round((last - first) / SECOND) + 1)]
            assert len(times) == data["count"], data
            missed.setdefault(name, Counter()).update(times)
    for name, fired in told.items():
        lost = missed.get(name, Counter())
        seen = fired + lost
        first, last = min(seen), max(seen)
        counts.times += (expected := round((last - first) / SECOND) + 1)
        counts.fired += len(fired)
        counts.missed += len(lost)
        counts.fired_twice += sum(number - 1 for number in fired.values())
        counts.fired_and_missed += len(fired.keys() & lost.keys())
        counts.unaccounted += expected - len(seen)
    counts.runs_without_firing = len(runs - begun)
    counts.firings_without_run = len(begun - runs)
    return counts


async def all_events(storage: SqliteStorage) -> list[dict[str, Any]]:
    """Return all events of triggers."""
    found: list[dict[str, Any]] = []
    query = EventQuery(channels=["triggers"], limit=1000)
    while True:
        page = await storage.read_events(query)
        found += map(json.loads, page.entries.values())
        if page.next == query.after:
            return found
        query = EventQuery(after=page.next, channels=["triggers"], limit=1000)


def main() -> None:
    """Run a campaign, or serve for one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--triggers", type=int, default=100)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--serve", type=Path, metavar="FOLDER", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve is not None:
        asyncio.run(serve(args.serve, args.triggers))
        os._exit(0)
    with tempfile.TemporaryDirectory() as folder:
        print(f"seed {args.seed}")
        for name, count in vars(
            campaign(Path(folder), args.kills, args.triggers, args.seed)
        ).items():
            print(f"{name:20} {count:,}")


if __name__ == "__main__":
    main()
