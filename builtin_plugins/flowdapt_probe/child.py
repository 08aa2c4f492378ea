"""What runs in the child process: ``python -m flowdapt_probe.child TARGET``.

What ends here in an ordinary exception is harmless: the process that loads the plugin meets it
again and catches it. Only an end without an answer, or one for want of memory, is a fault.
"""

from __future__ import annotations

import contextlib
import faulthandler
import inspect
import json
import os
import resource
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Bytes of memory that an import may fill. Of data, not of address space: of that, libraries such
#: as CUDA's reserve more than they ever use.
MEMORY = 4 << 30
FILE_SIZE = 256 << 20  #: bytes of the largest file that an import may write, its output included
ANSWER = b"\0flowdapt\0"  #: what stands before the answer, at the end of the output


def main(target: str) -> NoReturn:
    """Import ``target``, ask its hooks what they offer, write the answer and end at once."""
    _restrain()
    faulthandler.enable()  # also tells where we stand when we are aborted, having taken too long
    sys.argv = ["flowdapt"]
    answer = [""]
    try:
        # Without repetitions, so that an endless iterator fills time and not memory.
        answer += dict.fromkeys(_offers(EntryPoint("", target, "").load()))
    except (KeyboardInterrupt, MemoryError) as error:
        answer = [f"{type(error).__name__} while importing"]
    except BaseException:
        answer = [""]  # harmless, see above
    os.write(1, ANSWER + json.dumps(answer).encode() + b"\n")
    # Not by returning: threads that the plugin started may never end.
    os._exit(0)


def _offers(plugin: object) -> Iterator[str]:
    for name in dir(plugin):
        hook: Any = getattr(plugin, name) if name.startswith("flowdapt_") else None
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
