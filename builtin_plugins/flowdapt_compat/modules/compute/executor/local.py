"""Computes stages on this machine, as in earlier releases; for tests of workflows."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

from flowdapt.executors import Executor, Host
from flowdapt.plugins import offered

__all__ = ["LocalExecutor"]


class LocalExecutor:
    """The executor ``local`` or ``threads``; several workflows may be computed while it runs.

    :param use_processes: or else threads of this process
    :param cpus: how many calls are computed at once
    :param cluster_memory_socket_path: means nothing any more
    """

    kind = "local"

    def __init__(
        self,
        use_processes: bool = True,
        cpus: int | str = "auto",
        cluster_memory_socket_path: str | None = None,
        **options: Any,
    ) -> None:
        self._options = {**options, "use_processes": use_processes, "cpus": cpus}
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self.executor: Executor | None = None  #: while it runs

    @property
    def running(self) -> bool:
        """Whether it is started."""
        return self.executor is not None

    connected = running

    async def start(self) -> None:
        """Get ready; harmless when it is."""
        if self.executor is not None:
            return
        made: Executor = offered("executors", "local")(**self._options)
        self._folder = await asyncio.to_thread(tempfile.TemporaryDirectory, prefix="flowdapt-")
        await made.start(
            Host(app_dir=Path(self._folder.name), places=offered("exports", "places")())
        )
        self.executor = made

    async def close(self) -> None:
        """End what was started; harmless when nothing was."""
        executor, self.executor = self.executor, None
        if executor is not None:
            await executor.stop()
        if self._folder is not None:
            await asyncio.to_thread(self._folder.cleanup)
            self._folder = None

    async def __aenter__(self) -> LocalExecutor:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        frames: TracebackType | None,
    ) -> None:
        await self.close()
