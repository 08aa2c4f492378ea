"""What belongs to a process as a whole, looked at before and after an import."""

from __future__ import annotations

import gc
import logging
import os
import resource
import signal
import sys
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Variables that flowdapt and the programs it starts go by; others may be set, as libraries do.
VARIABLES = ("HOME", "TMPDIR")
LOGGERS = ("", "flowdapt", "flowdapt.plugins", "flowdapt.server")


class Surroundings:
    """The surroundings as they are now."""

    def __init__(self) -> None:
        self._seen = {what: look() for what, look in _LOOKS.items()}
        self._lists = {what: [*look()] for what, look in _LISTS.items()}

    def changes(self) -> Iterator[str]:
        """Name what is another now, or no longer there."""
        for what, look in _LOOKS.items():
            if _tried(look) != self._seen[what]:
                yield what
        for what, entries in _LISTS.items():
            now = entries()
            if any(entry not in now for entry in self._lists[what]):
                yield f"{what}, by taking out what was there"


def _tried(look: Callable[[], Any]) -> Any:
    try:
        return look()
    except BaseException as error:  # a stranger's handler or filter may take part
        return type(error).__name__


def _handlers() -> dict[int, Any]:
    return {number: signal.getsignal(number) for number in signal.valid_signals()}


def _umask() -> int:
    mask = os.umask(0o77)
    os.umask(mask)
    return mask


def _variables() -> dict[str, str | None]:
    chosen = {name: value for name, value in os.environ.items() if name.startswith("FLOWDAPT")}
    return {**chosen, **{name: os.environ.get(name) for name in VARIABLES}}


def _loggers() -> list[Any]:
    found = [logging.getLogger(name) for name in LOGGERS]
    own = [(one.level, one.propagate, [*one.handlers]) for one in found[1:]]
    return [*((one.disabled, [*one.filters]) for one in found), *own, logging.root.manager.disable]


def _errors() -> list[Any]:
    """Return the filters that make an error of warnings of everybody."""
    return [f for f in warnings.filters if f[0] == "error" and f[1] is None and f[3] is None]


def _limits() -> dict[str, Any]:
    names = [name for name in dir(resource) if name.startswith("RLIMIT_")]
    return {name: resource.getrlimit(getattr(resource, name)) for name in names}


def _loops() -> str:
    """Return how it goes to run something asynchronous."""

    asyncio: Any = sys.modules.get("asyncio")  # slow to import, and not changed unless imported

    async def answer() -> str:
        await asyncio.sleep(0)
        return "well"

    return asyncio.run(answer()) if asyncio else "well"


def _patience() -> float | None:
    socket: Any = sys.modules.get("socket")
    return socket.getdefaulttimeout() if socket else None


def _lines() -> str:
    """Return how it goes to log something."""
    logging.getLogger("flowdapt.plugins").warning("this is a test of the log after an import")
    return "well"


_LOOKS: dict[str, Callable[[], Any]] = {
    "the working directory": os.getcwd,
    "the mask for new files": _umask,
    "standard output": lambda: os.fstat(1)[:3],
    "standard error": lambda: (os.fstat(2)[:3], id(sys.stderr), sys.stderr.closed),
    "handlers of signals": _handlers,
    "which signals are blocked": lambda: signal.pthread_sigmask(signal.SIG_BLOCK, ()),
    "the timer that sends SIGALRM": lambda: signal.getitimer(signal.ITIMER_REAL)[0] > 0,
    f"variables ({', '.join(VARIABLES)} or FLOWDAPT...)": _variables,
    "how deep calls may go": sys.getrecursionlimit,
    "how threads take turns": sys.getswitchinterval,
    "what traces every call": lambda: (sys.gettrace(), sys.getprofile()),
    "whether garbage is collected": gc.isenabled,
    "how long sockets wait": _patience,
    "which warnings are errors": _errors,
    "the limits of the process": _limits,
    "the log of flowdapt": _loggers,
    "how asynchronous code runs": _loops,
    "what is done with lines of the log": _lines,
}
_LISTS: dict[str, Callable[[], list[Any]]] = {
    "sys.path": lambda: sys.path,
    "sys.meta_path": lambda: sys.meta_path,
    "sys.path_hooks": lambda: sys.path_hooks,
    "PATH": lambda: os.environ.get("PATH", "").split(os.pathsep),
    "PYTHONPATH": lambda: os.environ.get("PYTHONPATH", "").split(os.pathsep),
}
