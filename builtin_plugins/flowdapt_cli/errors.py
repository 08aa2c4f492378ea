"""What goes wrong on the command line, and the status that the program ends with."""

from __future__ import annotations

from flowdapt.errors import FlowdaptError, InvalidInput, InvalidResource, SettingsError
from flowdapt_cli.reading.errors import AppDirUnusable, UnreadableFile

FAILED = 1  #: a run failed, or a server or a plugin refused
WRONG = 2  #: the command is wrong, or a file that it was given
INTERRUPTED = 130  #: somebody pressed Ctrl-C; the number is that of shells


class CommandError(FlowdaptError):
    """The command, or what it was given, is wrong."""


_BAD_REQUEST = (400, 413, 422)  #: statuses of HTTP
_WRONG = (CommandError, InvalidInput, InvalidResource, SettingsError, UnreadableFile)


def status_of(error: FlowdaptError) -> int:
    """Return the program's status after an error."""
    if isinstance(error, AppDirUnusable):
        return FAILED
    # What a server refuses for what it says is as wrong as what is refused here.
    bad_request = getattr(error, "status", None) in _BAD_REQUEST
    return WRONG if bad_request or isinstance(error, _WRONG) else FAILED
