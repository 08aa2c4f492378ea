"""How long a server takes to answer, and the command line to say what it can do."""

from __future__ import annotations

import re
import statistics
import subprocess
import sys

from tests.benchmarks.measuring import Figure, in_turns
from tests.benchmarks.servers import app_dir, environment, flowdapt

HELP = [sys.executable, "-m", "flowdapt", "--help"]
TYPER = [sys.executable, "-c", "import typer"]
HEAVY = ("pydantic", "starlette", "rich", "uvicorn", "httpx", "numpy")


async def measure(repeat: int) -> list[Figure]:
    """Launch servers one after another, and processes that only import, in turns."""
    with app_dir() as folder:
        launches = [_launch() for _ in range(repeat)]

        async def help_() -> None:
            _call(HELP, FLOWDAPT__APP_DIR=str(folder))

        pairs = await in_turns(help_, lambda: _call(TYPER), repeat * 2)
        modules = _modules(HELP, FLOWDAPT__APP_DIR=str(folder))
    heavy = sorted({name for name in modules if name.split(".")[0] in HEAVY})
    return [
        Figure("startup, to first answer", statistics.median(launches), 1, unit="s"),
        Figure(
            "startup, --help of import typer",
            pairs.ratio,
            2,
            facts={"help_ms": pairs.ours_s * 1e3, "typer_ms": pairs.floor_s * 1e3},
        ),
        Figure(
            "startup, heavy modules in --help",
            len(heavy),
            0,
            unit="",
            facts={
                "modules": len(modules),
                "of_import_typer": len(_modules(TYPER)),
                "heavy": heavy[:5],
            },
        ),
    ]


def _launch() -> float:
    with app_dir() as folder, flowdapt(folder) as process:
        return process.seconds


def _call(command: list[str], **variables: str) -> None:
    subprocess.run(
        command, env=environment() | variables, stdout=subprocess.DEVNULL, check=True, timeout=60
    )


def _modules(command: list[str], **variables: str) -> set[str]:
    """Return the names of all modules that a program imports."""
    told = subprocess.run(
        [command[0], "-X", "importtime", *command[1:]],
        env=environment() | variables,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return set(re.findall(r"^import time:.*\| +([\w.]+)$", told.stderr, flags=re.MULTILINE))
