"""Starts the child process in which a plugin is checked, and reads what it answers."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from flowdapt_scaffold.candidates import Candidate, candidate

SECONDS = 60.0  #: how long a check may take: the imports of its plugin, stages and parts
REPORT_CHARACTERS = 4000  #: how much is told of the end of what the child wrote


def tried(path: Path) -> dict[str, Any]:
    """Check a plugin, and return what is known of it as plain data.

    :raises InvalidInput: neither a project nor a wheel
    """
    with tempfile.TemporaryDirectory(prefix="flowdapt-check-") as scratch:
        found = candidate(path, Path(scratch))
        report = {"path": str(path), **_judged(found)}
        early = [{"where": where, "fact": fact} for where, fact in found.problems]
        return {**report, "problems": [*early, *report["problems"]]}


def _judged(found: Candidate) -> dict[str, Any]:
    path = [str(folder) for folder in (*found.roots, found.site)]
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "flowdapt_scaffold.judging", str(found.site)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([*path, *sys.path])},
        start_new_session=True,
    ) as process:
        try:
            answer, written = process.communicate(timeout=SECONDS)
            fact = f"ended with status {process.returncode} while it was checked"
        except subprocess.TimeoutExpired:
            _kill(process)
            answer, written = process.communicate()
            fact = f"took longer than {SECONDS:g} s to be checked"
        finally:
            _kill(process)  # with all that the plugin may have started
    with contextlib.suppress(ValueError):
        report: dict[str, Any] = json.loads(answer)
        return report
    shown = written.decode(errors="replace")[-REPORT_CHARACTERS:].rstrip()
    return {"problems": [{"where": "the plugin", "fact": f"{fact}\n{shown}".rstrip()}]}


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
