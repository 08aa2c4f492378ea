"""Projects of plugins, as if they were installed, and what their authors run in them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from flowdapt_scaffold.candidates import candidate

SECONDS = 120.0  #: until a program counts as hanging


def installed(project: Path, site: Path) -> dict[str, str]:
    """Return the environment of a process that finds a project as if it were installed.

    :param site: where its metadata are written, as an installer would
    """
    site.mkdir()
    candidate(project, site)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("FLOWDAPT", "PYTEST"))}
    path = os.pathsep.join([str(project), str(site)])
    return {**kept, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}


def run(project: Path, environment: dict[str, str], program: str, *arguments: object) -> str:
    """Run a program of the environment of these tests in a project; fails with what it says."""
    command = [str(Path(sys.executable).with_name(program)), *map(str, arguments)]
    done = subprocess.run(
        command,
        cwd=project,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert done.returncode == 0, f"{program}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def pass_checks(project: Path, environment: dict[str, str], cache: Path) -> None:
    """Run all that the project's own continuous integration does.

    :param cache: of mypy
    """
    run(project, environment, "ruff", "check", "--no-cache")
    run(project, environment, "ruff", "format", "--check", "--no-cache")
    run(project, environment, "mypy", "--strict", "--cache-dir", cache)
    run(project, environment, "pytest", "-p", "no:cacheprovider", "-p", "no:xdist")
    run(project, environment, "flowdapt", "plugins", "check", ".")
