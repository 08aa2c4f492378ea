"""Programs of flowdapt that a process starts beside itself, and talks with over a socket."""

from __future__ import annotations

import socket
import subprocess
import sys

# Imports from where we do, whatever its PYTHONPATH and current folder are.
_BOOT = "import sys; sys.path[:] = {path!r}; from {module} import main; main()"


def started(module: str) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Start the function ``main`` of a module in a process of its own.

    Its first argument is the number of the descriptor that is its end of the socket.

    :return: the process, and our end
    """
    ours, theirs = socket.socketpair()
    boot = _BOOT.format(path=sys.path, module=module)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-c", boot, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C in the terminal is for the server alone
        )
    return process, ours
