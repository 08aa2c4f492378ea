"""Runs uv and git."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Sequence
from pathlib import Path

from uv import find_uv_bin

from flowdapt_installer.errors import ChangeFailed

SECONDS = 600.0  #: how long one of them may take


class ProgramFailed(ChangeFailed):
    """A program ended with an error.

    :param said: what it wrote to its standard error
    """

    def __init__(self, program: str, said: str) -> None:
        super().__init__(f"{program} failed: {said or 'it did not say why'}")
        self.said = said


async def uv(*arguments: str, folder: Path | None = None) -> str:
    """Run uv, and return what it wrote.

    :raises ProgramFailed: it ended with an error
    """
    return await run([find_uv_bin(), *arguments], folder=folder)


async def run(command: Sequence[str], *, folder: Path | None = None) -> str:
    """Run a program that asks nothing, and return what it wrote.

    :raises ProgramFailed: it ended with an error, took too long, or is not there
    """
    name = Path(command[0]).name
    quiet = {"UV_NO_PROGRESS": "1", "NO_COLOR": "1", "GIT_TERMINAL_PROMPT": "0"}
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **quiet},
            start_new_session=True,
        )
    except OSError as error:
        raise ProgramFailed(name, f"it cannot be started: {error.strerror}") from None
    try:
        async with asyncio.timeout(SECONDS):
            out, wrong = await process.communicate()
    except TimeoutError:
        raise ProgramFailed(name, f"it took longer than {SECONDS:g} s") from None
    finally:
        if process.returncode is None:  # also where nobody wants it any more
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if process.returncode:
        raise ProgramFailed(name, wrong.decode(errors="replace").strip())
    return out.decode(errors="replace")
