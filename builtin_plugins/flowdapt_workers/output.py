"""What a stage prints and logs, captured line by line for its run."""

from __future__ import annotations

import io
import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime

import orjson

FLUSH_BYTES = 32 * 1024  #: lines are sent on once there is so much of them
FLUSH_SECONDS = 0.1  #: and at the latest after this time

Place = tuple[str, str, int | None]  #: run, stage, and index of the element

Send = Callable[[str, str, bytes, int], None]  #: run, stage, lines, their count
Mask = Callable[[str | None, str], str]  #: run, absent where it may be any of them, and a text


class Output:
    """Collects the lines of a worker process and sends them on in blocks.

    :param send: called with a block of one stage; from any thread, one at a time
    :param mask: returns a text without what is not to be seen; from any thread
    """

    def __init__(self, send: Send, mask: Mask) -> None:
        self._send, self._mask = send, mask
        self._lock = threading.RLock()
        self._lines: list[bytes] = []
        self._of: tuple[str, str] = ("", "")
        self._bytes = 0
        self._pending = threading.Event()
        self._place: ContextVar[Place | None] = ContextVar("flowdapt_output", default=None)
        #: who is computed in the main thread, for what other threads write
        self.main: Place | None = None
        threading.Thread(target=self._flush_now_and_then, daemon=True, name="output").start()

    def install(self, level: int) -> None:
        """Take over what this process prints and logs from now on."""
        sys.stdout = _Stream(self, "stdout")
        sys.stderr = _Stream(self, "stderr")
        root = logging.getLogger()
        root.handlers[:] = [_Handler(self)]
        root.setLevel(level)

    def belongs_to(self, place: Place) -> None:
        """Have what the current context writes belong to an element of a stage."""
        self._place.set(place)

    def write(self, stream: str, message: str, level: str = "", logger: str = "") -> None:
        """Add one line."""
        own = self._place.get()
        place = own or self.main
        if place is None:
            return
        run, stage, item = place
        # A thread of a stage may outlive its call, and write while another run is computed.
        sure = own is not None or threading.current_thread() is threading.main_thread()
        message = self._mask(run if sure else None, message)
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(time.time(), UTC)
            .replace(tzinfo=None)
            .isoformat(timespec="microseconds"),
            "stream": stream,
            "message": message,
        }
        if item is not None:
            line["item"] = item
        if level:
            line |= {"level": level, "logger": logger}
        try:
            text = orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
        except TypeError:  # half a surrogate
            line["message"] = message.encode(errors="replace").decode()
            text = orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
        with self._lock:
            if (run, stage) != self._of:
                self.flush()
                self._of = (run, stage)
            self._lines.append(text)
            self._bytes += len(text)
            if self._bytes >= FLUSH_BYTES:
                self.flush()
            elif len(self._lines) == 1:
                self._pending.set()

    def flush(self) -> None:
        """Send on what there is."""
        with self._lock:
            if self._lines:
                lines, self._lines, self._bytes = self._lines, [], 0
                self._send(*self._of, b"".join(lines), len(lines))

    def _flush_now_and_then(self) -> None:
        while True:
            self._pending.wait()
            self._pending.clear()
            time.sleep(FLUSH_SECONDS)
            try:
                self.flush()
            except OSError:  # the server is gone, and so will this process be
                return


class _Stream(io.TextIOBase):
    """Stands in for ``sys.stdout`` or ``sys.stderr``."""

    def __init__(self, output: Output, name: str) -> None:
        self._output, self._name = output, name
        self._open = threading.local()  # the begun line of each thread

    @property
    def encoding(self) -> str:  # type: ignore[override]  # read-only is all that is asked of it
        return "utf-8"

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return 1 if self._name == "stdout" else 2

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        *lines, rest = (getattr(self._open, "line", "") + text).split("\n")
        for line in lines:
            self._output.write(self._name, line)
        self._open.line = rest
        return len(text)

    def end_line(self) -> None:
        """Write a line that was begun and not ended."""
        if rest := getattr(self._open, "line", ""):
            self._open.line = ""
            self._output.write(self._name, rest)


class _Handler(logging.Handler):
    """Captures records of the logging module."""

    def __init__(self, output: Output) -> None:
        super().__init__()
        self._output = output

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
            if record.exc_info and record.exc_info[0] is not None:
                message += "\n" + "".join(traceback.format_exception(*record.exc_info)).rstrip()
        except Exception:  # a wrong format is the user's mistake, and not worth the stage
            message = f"{record.msg} {record.args!r}"
        self._output.write("log", message, record.levelname, record.name)


def end_lines() -> None:
    """Write lines that were begun and not ended, at the end of a call."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, _Stream):
            stream.end_line()
