"""What a worker process writes past Python: of libraries, and of the children of stages."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from datetime import UTC, datetime

import orjson

from flowdapt.storage import LogBlock
from flowdapt_workers.processes import Process

_READ_AT_ONCE = 1 << 16  #: bytes


def drain(process: Process, printed: Callable[[Process, bytes], None]) -> None:
    """Take all that a worker wrote so far, also a line that it did not end."""
    with contextlib.suppress(OSError):
        while data := os.read(process.output_end, _READ_AT_ONCE):
            printed(process, data)
    if process.begun_line:
        printed(process, b"\n")


def lines_of(process: Process, data: bytes, stage: str | None) -> LogBlock | None:
    """Return the lines that are whole now; what is not stays with the process.

    :param stage: that is computed there now; without one what was written is nobody's
    """
    whole, newline, process.begun_line = (process.begun_line + data).rpartition(b"\n")
    if stage is None or not newline:
        return None
    time = datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")
    lines = [
        orjson.dumps({"time": time, "stream": "output", "message": line})
        for line in whole.decode(errors="replace").split("\n")
    ]
    return LogBlock(stage, b"\n".join([*lines, b""]), len(lines))
