"""Logging, set up once where a program starts; everywhere else it is the standard library's."""

from __future__ import annotations

import json
import logging
import traceback
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from flowdapt.settings import Logging

#: They log every request, connection or file change.
CHATTY = ("asyncio", "grpc", "httpcore", "httpx", "urllib3", "watchfiles")

_STANDARD = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName", "color_message"}


def configure(settings: Logging, *, dev: bool = False, stream: TextIO | None = None) -> None:
    """Write the log of this process to ``stream``, in place of what an earlier call set up.

    Fields given as ``extra={"run": ...}`` become fields of a line.

    :param dev: everything from debug on, with tracebacks, whatever the settings say
    :param stream: standard error unless given
    """
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, _Handler)]:
        root.removeHandler(handler)
    handler = _Handler(stream)
    formatter = _Json if settings.format == "json" else _Console
    handler.setFormatter(formatter(settings, tracebacks=dev or settings.show_tracebacks))
    root.addHandler(handler)
    root.setLevel("DEBUG" if dev else settings.level.upper())
    for name in CHATTY:
        logging.getLogger(name).setLevel(max(root.level, logging.WARNING))


class _Handler(logging.StreamHandler[TextIO]):
    """The handler that :func:`configure` added."""


class _Formatter(logging.Formatter):
    def __init__(self, settings: Logging, *, tracebacks: bool) -> None:
        super().__init__()
        self.settings, self.tracebacks = settings, tracebacks

    def fields(self, record: logging.LogRecord) -> dict[str, Any]:
        """Return what the caller added to the record, and its trace where that is asked for."""
        return {
            name: value
            for name, value in vars(record).items()
            if name not in _STANDARD and (name != "trace_id" or self.settings.include_trace_id)
        }

    def exception(self, record: logging.LogRecord) -> str:
        """Return the traceback, or only what was raised; nothing where nothing was."""
        error = record.exc_info[1] if record.exc_info else None
        if error is None:
            return ""
        if not self.tracebacks:
            return "".join(traceback.format_exception_only(error)).strip()
        return "".join(
            traceback.TracebackException.from_exception(
                error,
                limit=-self.settings.traceback_max_frames,
                capture_locals=self.settings.traceback_show_locals,
            ).format()
        ).strip()


class _Json(_Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if exception := self.exception(record):
            line["exception"] = exception
        # The four come last, so that no field of a caller can pass for one of them.
        return json.dumps({**self.fields(record), **line}, default=str)


class _Console(_Formatter):
    def format(self, record: logging.LogRecord) -> str:
        level = record.levelname.lower()
        fields = "".join(f" {name}={value!s}" for name, value in self.fields(record).items())
        line = f"{_time(record)} {level:8} {record.name}: {record.getMessage()}{fields}"
        exception = self.exception(record)
        return f"{line}\n{exception}" if exception else line


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
