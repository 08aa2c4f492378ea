"""Executors that stay connected from test to test, because to connect takes seconds."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from flowdapt_workers.remote import RemoteExecutor

from flowdapt.executors import Host


class Staying(RemoteExecutor):
    """To be mixed into an executor."""

    async def start(self, host: Host) -> None:
        """Connect, the first time."""
        if self._connection.link is None:
            await super().start(host)
        self._host = host

    async def stop(self) -> None:
        """Stay; whoever made it calls :meth:`end`."""

    async def end(self) -> None:
        """Let go of the cluster."""
        await super().stop()


class OneConnection:
    """To be mixed into suites: one connection serves all tests of a class.

    A fixture ``made`` gives the executor.
    """

    @pytest.fixture(scope="class")
    @classmethod
    def anyio_backend(cls) -> str:
        return "asyncio"  # one loop for the class, too

    @pytest.fixture(scope="class")
    @classmethod
    async def kept(cls, anyio_backend: str, made: Staying) -> AsyncIterator[Staying]:
        yield made
        await made.end()

    @pytest.fixture
    def executor(self, kept: Staying) -> Staying:
        return kept
