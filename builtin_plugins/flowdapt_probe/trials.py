"""Starts the child process in which an import is tried, and tells from its end how that went."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from typing import IO

from flowdapt.hooks import Verdict
from flowdapt_probe.child import ANSWER, WELL
from flowdapt_probe.verdicts import UNTRIED

#: How long an import may take, until the child is killed. On a machine that is busy it may take up
#: to twice as long: what it waited for a core does not count.
SECONDS = 10.0
ENDING_SECONDS = 3.0  #: how long a child that has answered may take to end, at least
SHOWING_SECONDS = 2.0  #: how long a child that took longer may take to show where it stands
REPORT_BYTES = 8000  #: how much is kept of the end of what the child wrote
MOST_ANSWER_BYTES = 1 << 20  #: how much of that end is searched for its answer


def tried(target: str) -> Verdict:
    """Import ``target`` in a child process, and judge how that ended.

    With the child ends all that the import has started.

    :param target: an entry point's value
    """
    with tempfile.TemporaryFile() as output:  # not a pipe, at which an import could block
        try:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "flowdapt_probe.child", target],
                stdin=subprocess.PIPE,  # who reads from it waits, as at a terminal
                stdout=output,
                stderr=output,
                env=_environment(),
                start_new_session=True,
            )
        except OSError:
            return Verdict(fault=UNTRIED)
        with process:
            late = not _ended(process, SECONDS)
            if late:
                late = not _ended(process, min(SECONDS, _kept_waiting(process.pid)))
            if late and ANSWER in _end_of(output):  # it may have come at the last moment
                late = not _ended(process, ENDING_SECONDS)
            if late:
                process.send_signal(signal.SIGABRT)
                _ended(process, SHOWING_SECONDS)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
        return _verdict(process.returncode, _end_of(output), late=late)


def _kept_waiting(pid: int) -> float:
    """Return for how many seconds a process could have run and had no core; 0 if unknown."""
    try:
        with open(f"/proc/{pid}/schedstat", encoding="ascii") as told:
            return int(told.read().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


def _verdict(status: int, output: bytes, *, late: bool) -> Verdict:
    _, answered, rest = output.rpartition(ANSWER)
    if not answered:  # of which the whole output is the rest
        fault = f"import took longer than {SECONDS:g} s" if late else f"{_ending(status)} importing"
        return Verdict(fault=fault, report=_report(rest))
    answer, _, after = rest.partition(b"\n")
    fault, *provides = json.loads(answer)
    if not fault and late:
        fault = "its import keeps the process from ending"
    elif not fault and status != WELL:
        fault = f"its import has the process end otherwise: {_ending(status)} ending"
    return Verdict(fault=fault, report=_report(after) if fault else "", provides=tuple(provides))


def _report(written: bytes) -> str:
    return written[-REPORT_BYTES:].decode(errors="replace")


def _end_of(output: IO[bytes]) -> bytes:
    output.seek(max(0, output.seek(0, os.SEEK_END) - MOST_ANSWER_BYTES))
    return output.read()


def _ended(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Wait for a process for so long, and tell whether it has ended."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    return process.returncode is not None


def _environment() -> dict[str, str]:
    few = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    path = os.pathsep.join(map(os.path.abspath, sys.path))
    return {**os.environ, **few, "PYTHONPATH": path}


def _ending(status: int) -> str:
    if status >= 0:
        return f"exited with status {status} while"
    names = {known.value: known.name for known in signal.Signals}
    return f"killed by {names.get(-status, -status)} while"
