from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from flowdapt_cli import logs

from flowdapt.settings import Logging

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name in logs.CHATTY:
        logging.getLogger(name).setLevel(logging.NOTSET)


def configured(*, dev: bool = False, **settings: Any) -> io.StringIO:
    stream = io.StringIO()
    logs.configure(Logging(**settings), dev=dev, stream=stream)
    return stream


def test_a_json_line_has_time_level_logger_message_and_fields() -> None:
    stream = configured(format="json")

    logging.getLogger("flowdapt.test").info("stored %d runs", 2, extra={"run": "a", "at": {1}})

    line = json.loads(stream.getvalue())
    moment = line.pop("time")
    assert moment.endswith("Z")
    assert moment[10] == "T"
    assert line == {
        "level": "info",
        "logger": "flowdapt.test",
        "message": "stored 2 runs",
        "run": "a",
        "at": "{1}",
    }


def test_a_field_cannot_pass_for_the_level() -> None:
    stream = configured(format="json")

    logging.getLogger("flowdapt.test").warning("low", extra={"level": "debug"})

    assert json.loads(stream.getvalue())["level"] == "warning"


def test_a_console_line_is_for_people() -> None:
    stream = configured()

    logging.getLogger("flowdapt.test").warning("disk is full", extra={"path": "/x"})

    assert stream.getvalue().endswith("Z warning  flowdapt.test: disk is full path=/x\n")


def test_lines_below_the_level_are_left_out() -> None:
    stream = configured(level="warning")

    logging.getLogger("flowdapt.test").info("hidden")

    assert stream.getvalue() == ""


def test_development_shows_everything_with_tracebacks() -> None:
    stream = configured(dev=True, level="error")

    try:
        raise ValueError("broken")
    except ValueError:
        logging.getLogger("flowdapt.test").debug("failed", exc_info=True)

    assert "Traceback (most recent call last)" in stream.getvalue()
    assert stream.getvalue().endswith("ValueError: broken\n")


def test_without_tracebacks_only_what_was_raised_is_logged() -> None:
    stream = configured(format="json")

    try:
        raise ValueError("broken")
    except ValueError:
        logging.getLogger("flowdapt.test").exception("failed")

    assert json.loads(stream.getvalue())["exception"] == "ValueError: broken"


def test_a_traceback_has_so_many_frames_and_locals_if_asked() -> None:
    stream = configured(show_tracebacks=True, traceback_show_locals=True, traceback_max_frames=2)

    def deep(depth: int) -> None:
        if not depth:
            raise ValueError("broken")
        deep(depth - 1)

    try:
        deep(5)
    except ValueError:
        logging.getLogger("flowdapt.test").exception("failed")

    assert stream.getvalue().count("in deep") == 2
    assert "depth = 0" in stream.getvalue()


@pytest.mark.parametrize("included", [True, False])
def test_a_trace_id_is_logged_only_if_asked(included: bool) -> None:
    stream = configured(format="json", include_trace_id=included)

    logging.getLogger("flowdapt.test").info("traced", extra={"trace_id": "4bf9"})

    assert ("trace_id" in json.loads(stream.getvalue())) == included


def test_configuring_again_replaces_the_handler() -> None:
    first = configured()
    second = configured()

    logging.getLogger("flowdapt.test").info("once")

    assert first.getvalue() == ""
    assert second.getvalue().count("once") == 1


def test_libraries_that_log_each_request_are_quiet() -> None:
    stream = configured()

    logging.getLogger("httpx").info("HTTP Request: GET /")

    assert stream.getvalue() == ""


def test_importing_logs_changes_nothing() -> None:
    program = "import flowdapt_cli.logs, logging; print(logging.getLogger().handlers)"

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)

    assert done.stdout == b"[]\n"
