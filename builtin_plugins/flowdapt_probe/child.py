"""What runs in the child process: ``python -m flowdapt_probe.child TARGET``.

What ends here in an ordinary exception is harmless: the process that loads the plugin meets it
again and catches it. A fault is an end without an answer, or one for want of memory; what the
import leaves behind that others would suffer from; and an end other than the one that we ask for.
"""

from __future__ import annotations

import contextlib
import errno
import faulthandler
import inspect
import json
import os
import resource
import sys
import time
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from flowdapt_probe.surroundings import Surroundings
from flowdapt_probe.vitals import Vitals

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Bytes of memory that an import may fill. Of data, not of address space: of that, libraries such
#: as CUDA's reserve more than they ever use.
MEMORY = 4 << 30
WELL = 41  #: the status that we end with; any other is not ours
FORKED = 42  #: the status of a process that was forked while importing, and came back to us
FORKED_WAITS = 50  #: of 20 ms, for its end
MOST = 3  #: so many changes are named; more are only counted
FILE_SIZE = 256 << 20  #: bytes of the largest file that an import may write, its output included
ANSWER = b"\0flowdapt\0"  #: what stands before the answer, at the end of the output


class Indistinct(Exception):
    """A plugin is equal to everything."""


def main(target: str) -> NoReturn:
    """Import ``target``, ask its hooks what they offer, look around, write the answer and end."""
    _restrain()
    faulthandler.enable()  # also tells where we stand when we are aborted, having taken too long
    sys.argv, sys.stdout = ["flowdapt"], sys.stderr  # as where plugins are loaded
    answers, process, forks = os.dup(1), os.getpid(), list[int]()
    os.register_at_fork(after_in_parent=lambda: forks.append(1))
    vitals, surroundings = Vitals(), Surroundings()
    answer = [""]
    try:
        # Without repetitions, so that an endless iterator fills time and not memory.
        answer += dict.fromkeys(_offers(EntryPoint("", target, "").load()))
    except (KeyboardInterrupt, MemoryError, OSError) as error:
        fatal = getattr(error, "errno", errno.ENOMEM) in (errno.ENOMEM, errno.EFBIG)
        answer = [""] if not fatal else [f"{type(error).__name__} while importing"]
    except Indistinct:
        answer = ["its import leaves an object that equals all others, other plugins among them"]
    except BaseException:
        answer = [""]  # harmless, see above
    replaced = vitals.changes()
    if os.getpid() != process:
        os._exit(FORKED)
    answer[0] = answer[0] or _changed(replaced, [*surroundings.changes()])
    if forks and not answer[0]:
        answer[0] = _forked()
    os.write(answers, ANSWER + json.dumps(answer).encode() + b"\n")
    # By the ordinary way: a thread that never ends, or who is called at the end, may bar it.
    raise SystemExit(WELL)


def _changed(replaced: list[str], changed: list[str]) -> str:
    """Say what an import has changed for everybody; nothing where it has not."""
    told = [*(f"replaces {one}" for one in replaced), *(f"changes {one}" for one in changed)]
    more = f"; and {len(told) - MOST} more" if len(told) > MOST else ""
    return f"its import {'; '.join(told[:MOST])}{more}" if told else ""


def _forked() -> str:
    """Say so where a process that was forked while importing has come as far as this one."""
    for _ in range(FORKED_WAITS):
        with contextlib.suppress(ChildProcessError):
            ended, status = os.waitpid(-1, os.WNOHANG)
            if ended and os.waitstatus_to_exitcode(status) == FORKED:
                return "its import forks the process, and both go on"
            time.sleep(0.0 if ended else 0.02)
    return ""


def _offers(plugin: object) -> Iterator[str]:
    if plugin == object():
        raise Indistinct
    for name in dir(plugin):
        attribute: Any = getattr(plugin, name)  # of any name, as when hooks are looked for
        hook: Any = attribute if name.startswith("flowdapt_") else None
        marked = callable(hook) and hasattr(hook, "flowdapt_impl")
        if marked and not inspect.signature(hook).parameters:
            for provider in hook():
                yield f"{name.removeprefix('flowdapt_')}:{provider.name}"


def _restrain() -> None:
    """Limit memory and files, leave no core file, and be the first whom a lack of memory ends."""
    for name, limit in ("DATA", MEMORY), ("FSIZE", FILE_SIZE), ("CORE", 0):
        with contextlib.suppress(AttributeError, ValueError, OSError):
            number = getattr(resource, f"RLIMIT_{name}")
            resource.setrlimit(number, (limit, resource.getrlimit(number)[1]))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


if __name__ == "__main__":
    main(sys.argv[1])
