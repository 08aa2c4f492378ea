"""What it costs to hand a large value on, from stage to stage of a run on this machine."""

from __future__ import annotations

import asyncio
import json
import statistics
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

from flowdapt.objects import Memory
from flowdapt.server import Server
from tests.benchmarks.measuring import Figure
from tests.benchmarks.servers import run, server, stage, workflow

LARGEST = 1000  #: MB of the frame, where there is as much room
ARRAY = 100  #: MB
WARM = 10  #: runs after which the memory is mapped that the next are written to
LOOK_SECONDS = 0.01  #: between two looks at the memory that is in use
FRAME = workflow(
    "frame",
    stage("make", "frame"),
    stage("keep", "step", "make"),
    stage("use", "add_up", "keep"),
)
ARRAYS = workflow("array", stage("send", "send"), stage("receive", "receive", "send"))


async def measure(repeat: int) -> list[Figure]:
    """Run three stages over a frame for its memory, and two over an array for the time."""
    async with server(ARRAYS) as under_test:
        array = await _array(under_test, 3 * repeat)
    return [*(await _frame(repeat)), array]


async def _frame(repeat: int) -> list[Figure]:
    """Make a frame in one stage, return it unchanged in the next, and read it in the third."""
    shared, private = [], []
    for _ in range(repeat):
        async with server(FRAME) as under_test:  # a new one, where nothing is free yet
            memory = under_test.memory
            assert memory is not None
            size = min(LARGEST, memory.stats()["capacity"] // 4 // 10**6)
            await run(under_test.engine, "frame", megabytes=1)  # the workers are there
            most = _Most(memory)
            looking = asyncio.create_task(most.look())
            result = await run(under_test.engine, "frame", megabytes=size)
            looking.cancel()
            assert json.loads(result or b"") == size * 10**6 / 8
        shared.append(most.shared / size / 10**6)
        private.append(most.private / size / 10**6)
    facts = {"MB": size, "private_too": f"{statistics.median(private):.2f} frames"}
    copies = statistics.median(shared)
    name = "handed on, a frame, three stages"
    return [Figure(name, copies, 1.05, unit="copies", facts=facts)]


class _Most:
    """The most memory that was in use while it was looked at, beyond what was at first."""

    def __init__(self, memory: Memory) -> None:
        self.shared = self.private = 0
        self._of: list[Callable[[], int]] = [lambda: int(memory.stats()["used"]), _private]
        self._first = [use() for use in self._of]

    async def look(self) -> None:
        """Look until this is cancelled."""
        while True:
            shared, private = (use() - f for use, f in zip(self._of, self._first, strict=True))
            self.shared, self.private = max(self.shared, shared), max(self.private, private)
            await asyncio.sleep(LOOK_SECONDS)


def _private() -> int:
    """Return how many bytes the processes below this one have to themselves."""
    found = 0
    for process in psutil.Process().children(recursive=True):
        with suppress(FileNotFoundError, ProcessLookupError):
            status = Path(f"/proc/{process.pid}/status").read_text()
            found += int(status.partition("RssAnon:")[2].split(None, 1)[0]) * 1024
    return found


async def _array(under_test: Server, repeat: int) -> Figure:
    """Time an array's way from the end of a stage to the begin of the next, less one copy."""
    for _ in range(WARM):
        await _way(under_test, ARRAY)
    ways = [(await _way(under_test, ARRAY), await _way(under_test, 0)) for _ in range(repeat)]
    beyond = [(way - copied) * 1e3 for (way, copied), _ in ways]
    facts = {
        "fastest_ms": min(beyond),
        "way_ms": statistics.median(way for (way, _), _ in ways) * 1e3,
        "memcpy_ms": statistics.median(copied for (_, copied), _ in ways) * 1e3,
        "way_of_nothing_ms": statistics.median(way for _, (way, _) in ways) * 1e3,
    }
    name = f"handed on, {ARRAY} MB beyond a copy"
    return Figure(name, statistics.median(beyond), 2, unit="ms", facts=facts)


async def _way(under_test: Server, megabytes: int) -> tuple[float, float]:
    result = await run(under_test.engine, "array", megabytes=megabytes)
    way, copied = json.loads(result or b"")
    return way, copied
