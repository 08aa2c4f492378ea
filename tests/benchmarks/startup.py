"""How long a server takes to answer, and the command line to say what it can do."""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
from pathlib import Path

from tests.benchmarks.measuring import Figure, in_turns
from tests.benchmarks.servers import app_dir, environment, flowdapt

HELP = [sys.executable, "-m", "flowdapt", "--help"]
TYPER = [sys.executable, "-c", "import typer"]
PLUGINS = 50  #: installed by others
PLUGIN = '''"""Grows fruit."""

from flowdapt.hooks import Provider, hookimpl


@hookimpl
def flowdapt_commands():
    return [Provider("NAME", "NAME.commands:app", "Look after the trees.")]


@hookimpl
def flowdapt_executors():
    return [Provider("NAME", "NAME.executor:Executor", "Computes on trees.")]


@hookimpl
def flowdapt_services():
    return [Provider("NAME", "NAME.service:Service", "Waters the trees.")]
'''
HEAVY = ("pydantic", "starlette", "rich", "uvicorn", "httpx", "numpy")


async def measure(repeat: int) -> list[Figure]:
    """Launch servers one after another, and processes that only import, in turns."""
    with app_dir() as folder:
        launches = [_launch() for _ in range(repeat)]

        async def help_() -> None:
            _call(HELP, FLOWDAPT__APP_DIR=str(folder))

        pairs = await in_turns(help_, lambda: _call(TYPER), repeat * 2)
        modules = _modules(HELP, FLOWDAPT__APP_DIR=str(folder))
        crowd = await _among_others(folder, repeat * 2)
    heavy = sorted({name for name in modules if name.split(".")[0] in HEAVY})
    return [
        Figure("startup, to first answer", statistics.median(launches), 1, unit="s"),
        Figure(
            "startup, --help of import typer",
            pairs.ratio,
            2,
            facts={"help_ms": pairs.ours_s * 1e3, "typer_ms": pairs.floor_s * 1e3},
        ),
        crowd,
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


async def _among_others(folder: Path, repeat: int) -> Figure:
    """Time ``--help`` where others have installed plugins, and where nobody has."""
    installed = folder / "site-packages"
    for number in range(PLUGINS):
        _install(installed, f"orchard_{number}")
    variables = {"FLOWDAPT__APP_DIR": str(folder), "PYTHONPATH": str(installed)}
    _call(HELP, **variables)  # in which each is tried, once for all

    async def help_() -> None:
        _call(HELP, **variables)

    def alone() -> None:
        _call(HELP, FLOWDAPT__APP_DIR=str(folder))

    pairs = await in_turns(help_, alone, repeat)
    facts = {"with_ms": pairs.ours_s * 1e3, "without_ms": pairs.floor_s * 1e3}
    return Figure(f"startup, --help with {PLUGINS} plugins", pairs.ratio, 1.3, facts=facts)


def _install(folder: Path, name: str) -> None:
    """Install a plugin as people write them: it offers a command, an executor and a service."""
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").write_text(PLUGIN.replace("NAME", name))
    about = folder / f"{name}-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\nRequires-Dist: flowdapt>=1.0\n"
    )
    (about / "entry_points.txt").write_text(f"[flowdapt.plugins]\n{name} = {name}\n")
    (about / "RECORD").write_text(f"{name}/__init__.py,,\n")


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
