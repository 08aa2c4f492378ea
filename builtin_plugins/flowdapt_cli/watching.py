"""Notices that files of a folder change."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Self

from watchfiles import Change, awatch

from flowdapt_cli.output import note
from flowdapt_cli.reading.files import SUFFIXES

SETTLE_MS = 200  #: how long files have to stay as they are


class Watch:
    """Watches a folder while the context lasts; what changes meanwhile is not missed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._resources, self._code = asyncio.Event(), asyncio.Event()

    def __enter__(self) -> Self:
        self._task = asyncio.create_task(self._watch(), name="watch")
        return self

    def __exit__(self, *exception: object) -> None:
        self._task.cancel()

    async def changed(self, *, code: bool = False) -> None:
        """Wait until a resource file changed since the last call, or a module where ``code``."""
        events = [self._resources, self._code] if code else [self._resources]
        waits = [asyncio.create_task(event.wait()) for event in events]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        self._resources.clear()
        self._code.clear()

    async def _watch(self) -> None:
        try:
            async for changes in awatch(self.folder, watch_filter=self._counts, step=SETTLE_MS):
                for _, path in changes:
                    (self._code if path.endswith(".py") else self._resources).set()
        except (OSError, RuntimeError) as error:  # such as too many files for the system's limit
            note(f"{self.folder} is not watched any more: {error}")

    def _counts(self, _: Change, path: str) -> bool:
        within = Path(path).relative_to(self.folder)
        hidden = any(part.startswith(".") or part == "__pycache__" for part in within.parts)
        return not hidden and within.suffix.lower() in (*SUFFIXES, ".py")
