"""What goes wrong on the command line, and the status that the program ends with."""

from __future__ import annotations

from flowdapt.errors import (
    AppDirUnusable,
    FlowdaptError,
    InvalidInput,
    InvalidResource,
    SettingsError,
    UnreadableFile,
)

FAILED = 1  #: a run failed, or a server or a plugin refused
WRONG = 2  #: the command is wrong, or a file that it was given
INTERRUPTED = 130  #: somebody pressed Ctrl-C; the number is that of shells


class CommandError(FlowdaptError):
    """The command, or what it was given, is wrong."""


_WRONG = (CommandError, InvalidInput, InvalidResource, SettingsError, UnreadableFile)


def status_of(error: FlowdaptError) -> int:
    """Return the program's status after an error."""
    wrong = isinstance(error, _WRONG) and not isinstance(error, AppDirUnusable)
    return WRONG if wrong else FAILED
