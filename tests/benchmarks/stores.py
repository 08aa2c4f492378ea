"""Our memory beside others: shared memory of the standard library, Ray, Redis, flowdapt 0.1.52.

Each writes in one process and reads in another. Libraries that are not installed, or whose server
is not in the path, are left out, and that is said. Those that cannot be installed beside this
project, such as its earlier releases, are used from other environments:

    python -m tests.benchmarks.stores --python /tmp/ray/bin/python --python /tmp/old/bin/python
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from tests.benchmarks.measuring import Figure
from tests.benchmarks.servers import HERE, environment

OURS = "flowdapt"
NAMES = (OURS, "shared_memory", "ray", "redis", "flowdapt-0.1.52")


async def measure(repeat: int, pythons: Sequence[str] = ()) -> list[Figure]:
    """Have the stores put and get an array of 100 MB and a dictionary of 1 KB, in turns.

    :param pythons: of other environments; the first that has a library is taken
    """
    with ExitStack() as stack:
        stores: dict[str, Store] = {}
        left_out: dict[str, str] = {}
        for name in NAMES:
            for python in (sys.executable, *pythons):
                try:
                    stores[name] = stack.enter_context(started(name, python))
                    break
                except LookupError as error:
                    left_out[name] = str(error)
        turns = [{name: store.turn() for name, store in stores.items()} for _ in range(repeat + 1)]
    times = {name: _medians([turn[name] for turn in turns[1:]]) for name in stores}
    ours = times[OURS]
    figures = [
        Figure(f"stores, {name}", _cost(found, ours), unit="x ours", facts=found)
        for name, found in times.items()
    ]
    said = "; ".join(f"{name}: {why}" for name, why in left_out.items() if name not in stores)
    missing = len(NAMES) - len(stores)
    return [*figures, Figure("stores, left out", missing, unit="", facts={"": said or "nothing"})]


def _medians(turns: Sequence[dict[str, float]]) -> dict[str, float]:
    return {key: statistics.median(turn[key] for turn in turns) for key in turns[0]}


def _cost(found: dict[str, float], ours: dict[str, float]) -> float:
    """Return how many times ours it takes to put the array and read it all elsewhere."""
    keys = ("put_100MB_ms", "get_and_sum_100MB_ms")
    return sum(found[key] for key in keys) / sum(ours[key] for key in keys)


class Store:
    """A store in a process of its own, see ``peers.py``."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def turn(self) -> dict[str, float]:
        """Return what each of its calls took."""
        assert self._process.stdin is not None
        self._process.stdin.write("turn\n")
        self._process.stdin.flush()
        found: dict[str, float] = self.answer()
        return found

    def answer(self) -> Any:
        """Return what it says next.

        :raises LookupError: it cannot be used, with the reason
        """
        assert self._process.stdout is not None
        answer = json.loads(self._process.stdout.readline() or '{"left_out": "it ended"}')
        if "left_out" in answer:
            raise LookupError(answer["left_out"])
        return answer


@contextmanager
def started(name: str, python: str) -> Iterator[Store]:
    """Yield a store that runs on a Python.

    :raises LookupError: it cannot be used there
    """
    command = [python, str(HERE / "peers.py"), name]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, **pipes, stderr=subprocess.DEVNULL, env=environment())
    try:
        store = Store(process)
        store.answer()
        yield store
    finally:
        with suppress(BrokenPipeError):
            process.communicate(timeout=30)


def main() -> None:
    """Measure them with the libraries of other environments, too."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.stores")
    parser.add_argument("--python", action="append", default=[], metavar="PATH")
    parser.add_argument("--repeat", type=int, default=5, help="turns of each store")
    args = parser.parse_args()
    for figure in asyncio.run(measure(args.repeat, args.python)):
        sys.stdout.write(figure.line() + "\n")


if __name__ == "__main__":
    main()
