"""Kills whoever writes and reads a memory, again and again; run with ``--kills N`` as a module.

Writers say what they are about to put or delete, and when it is done. What was done has to be there
whatever happens to them afterwards; of what was under way, either the old or the new. Readers look
at everything all the time. In the end a sweep has to leave nothing but the objects.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import select
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from flowdapt_memory.owners import OwnMemory
from flowdapt_memory.shm import ShmMemory
from flowdapt_memory.sweeping import sweep
from flowdapt_testing.elsewhere import is_whole, put

WRITERS, READERS, KEYS = 3, 2, 6
SIZES = (40, 5_000, 1_100_000, 1_500_000)
LIFE_SECONDS = 0.04  #: how long a process lives, at most
SWEEPS = 100
LATER = 3600.0  #: seconds after which nothing is kept for anybody


@dataclass
class Counts:
    """What came of it."""

    kills: int = 0
    done: int = 0
    looked_at: int = 0
    torn: int = 0
    lost: int = 0
    leaked_files: int = 0
    miscounted_bytes: int = 0


@dataclass
class Child:
    """A process that was forked, and what it said."""

    pid: int
    pipe: IO[str]
    dies: float
    reads: bool
    said: list[list[object]] = field(default_factory=list)


def write(memory: ShmMemory, slot: int, say: Callable[..., None]) -> None:
    """Put and delete for ever."""
    chance = random.Random(os.getpid())
    while True:
        key, seed = f"{slot}-{chance.randrange(KEYS)}", chance.randrange(250)
        if chance.random() < 0.2:
            say("begun", key, None)
            memory.delete("chaos", key)
            say("done", key, None)
        else:
            say("begun", key, seed)
            put(memory, "chaos", key, chance.choice(SIZES), seed)
            say("done", key, seed)


def read(memory: ShmMemory, _: int, say: Callable[..., None]) -> None:
    """Look at everything for ever."""
    chance = random.Random(os.getpid())
    held: list[memoryview] = []
    while True:
        try:
            found = memory.get("chaos", f"{chance.randrange(WRITERS)}-{chance.randrange(KEYS)}")
        except KeyError:
            continue
        held = [*held[-3:], found]  # what is in use must not change
        say("looked", all(map(is_whole, held)))


def fork(memory: ShmMemory, slot: int, chance: random.Random) -> Child:
    """Start a process that writes or reads."""
    theirs, ours = os.pipe()
    pid = os.fork()
    if pid == 0:
        out = os.fdopen(ours, "w")

        def say(*what: object) -> None:
            out.write(json.dumps(what) + "\n")
            out.flush()

        try:
            (write if slot < WRITERS else read)(memory, slot, say)
        finally:
            os._exit(1)
    os.close(ours)
    dies = time.monotonic() + chance.uniform(0.002, LIFE_SECONDS)
    return Child(pid, os.fdopen(theirs), dies, slot >= WRITERS)


def campaign(app_dir: Path, kills: int, seed: int, *, capacity: float | str = "auto") -> Counts:
    """Kill so many processes, and count what is wrong."""
    counts, chance = Counts(), random.Random(seed)
    memory = OwnMemory(app_dir=app_dir, capacity=capacity)
    expected: dict[str, set[int | None]] = {}
    slots = WRITERS + READERS
    children = [fork(memory, slot, chance) for slot in range(slots)]
    while counts.kills < kills:
        slot = min(range(slots), key=lambda n: children[n].dies)
        child = children[slot]
        _listen(children, until=child.dies)
        os.kill(child.pid, signal.SIGKILL)
        os.waitpid(child.pid, 0)
        child.said += [json.loads(line) for line in child.pipe if line.endswith("\n")]
        child.pipe.close()
        counts.kills += 1
        _judge(memory, child, expected, counts)
        children[slot] = fork(memory, slot, chance)
    for child in children:
        os.kill(child.pid, signal.SIGKILL)
        os.waitpid(child.pid, 0)
        child.pipe.close()
    arena = memory.arena
    sweep(arena, time.time() + LATER)
    counts.leaked_files = len([*os.scandir(arena.new), *os.scandir(arena.free)])
    blocks = Path(arena.objects).glob("*/*")
    there = sum(file.stat().st_blocks * 512 for file in blocks)
    counts.miscounted_bytes = max(0, abs(arena.used - there) - 2**20)  # it is exact to a MiB
    memory.close()
    counts.leaked_files += Path(memory.folder).exists() + Path(memory.disk).exists()
    return counts


def end_owners(app_dir: Path, count: int, seed: int) -> list[str]:
    """Kill owners with all that write into their memory; return what is left after the next."""
    chance, left = random.Random(seed), []
    for _ in range(count):
        theirs, ours = os.pipe()
        owner = os.fork()
        if owner == 0:
            os.setpgid(0, 0)
            memory = OwnMemory(app_dir=app_dir, capacity=4_000_000)
            os.write(ours, f"{memory.folder}\n{memory.disk}\n".encode())
            for slot in range(WRITERS):
                fork(memory, slot, chance)
            signal.pause()
        os.close(ours)
        with os.fdopen(theirs) as pipe:
            folders = [pipe.readline().strip(), pipe.readline().strip()]
            select.select([pipe], [], [], chance.uniform(0, LIFE_SECONDS))
            os.killpg(owner, signal.SIGKILL)
            os.waitpid(owner, 0)
            pipe.read()  # which ends with the last of those that could write to it
        for _ in range(SWEEPS):  # what is dying may still hold a lock
            OwnMemory(app_dir=app_dir).close()
            if not any(Path(folder).exists() for folder in folders):
                break
        left += [folder for folder in folders if Path(folder).exists()]
    return left


def _listen(children: list[Child], until: float) -> None:
    """Take what they say, so that none of them waits for us."""
    while (left := until - time.monotonic()) > 0:
        ready, _, _ = select.select([child.pipe for child in children], [], [], left)
        for child in children:
            if child.pipe in ready and (line := child.pipe.readline()):
                child.said.append(json.loads(line))


def _judge(
    memory: ShmMemory, child: Child, expected: dict[str, set[int | None]], counts: Counts
) -> None:
    """Compare what a process said with what is there."""
    if child.reads:
        counts.looked_at += len(child.said)
        counts.torn += sum(not whole for _, whole in child.said)
        return
    for what, key, seed in child.said:
        assert isinstance(key, str)
        assert seed is None or isinstance(seed, int)
        if what == "done":
            counts.done += 1
            expected[key] = {seed}
        else:
            expected.setdefault(key, {None}).add(seed)
    for key in {str(key) for _, key, _ in child.said}:
        try:
            found = memory.get("chaos", key)
        except KeyError:
            there = None
        else:
            counts.torn += not is_whole(found)
            there = found[-1]
        counts.lost += there not in expected[key]
        expected[key] = {there}


def main() -> None:
    """Run a campaign, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--capacity", default="auto")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        counts = campaign(Path(folder), given.kills, given.seed, capacity=given.capacity)
        left = end_owners(Path(folder), given.kills // 10, given.seed)
    sys.stdout.write(f"{counts}, left of {given.kills // 10} owners: {left}\n")


if __name__ == "__main__":
    main()
