"""Measures how fast flowdapt is, beside what the machinery below it costs on the same machine.

    python -m tests.benchmarks [--only fanout,chain] [--repeat 5] [--json FILE]

Each line is a median of several turns, taken in turns with its floor. The machine may be busy
otherwise, so trust ratios and not times. Not part of the test run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import sys
import traceback
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

from tests.benchmarks.measuring import CORES, Figure

LINES = {
    "fanout": "fanout",
    "parallel": "parallel",
    "chain": "chain",
    "diamond": "diamond",
    "http": "over_http",
    "startup": "startup",
    "memory": "memory",
    "pools": "pools",
    "storage": "storage",
    "tail": "tail",
    "sse": "listeners",
    "streams": "streams",
    "pages": "pages",
    "large": "large",
    "soak": "soak",
    "telemetry": "telemetry",
    "models": "models",
    "objects": "objects",
    "handed_on": "handed_on",
    "stores": "stores",
    "clusters": "clusters",
    "triggers": "triggers",
    "plugins": "plugins",
    "resume": "resume",
    "records": "records",
}


def main() -> None:
    """Measure the lines that were asked for, and print each as soon as it is there."""
    args = _arguments()
    told: list[Figure] = []
    broken: list[str] = []
    for name in args.only:
        measure = import_module(f"tests.benchmarks.{LINES[name]}").measure
        try:
            figures = asyncio.run(measure(args.repeat))
        except Exception:  # the other lines are worth measuring all the same
            traceback.print_exc()
            broken.append(name)
            continue
        for figure in figures:
            told.append(figure)
            sys.stdout.write(figure.line() + "\n")
            sys.stdout.flush()
    if args.json is not None:
        _write(args.json, told, python=platform.python_version(), cores=CORES, repeat=args.repeat)
    if broken:
        sys.exit(f"not measured: {', '.join(broken)}")


def _write(file: Path, told: list[Figure], **machine: object) -> None:
    figures = [asdict(figure) | {"met": figure.met} for figure in told]
    file.write_text(json.dumps({**machine, "figures": figures}, indent=1) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--only", type=_lines, default=list(LINES), metavar="A,B")
    parser.add_argument("--repeat", type=int, default=5, help="turns of each line")
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser.parse_args()


def _lines(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in LINES]:
        raise argparse.ArgumentTypeError(f"no {unknown[0]!r}; there are {', '.join(LINES)}")
    return names


if __name__ == "__main__":
    main()
