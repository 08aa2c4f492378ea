"""Executors that stay connected from test to test, because to connect takes seconds."""

from __future__ import annotations

from flowdapt_workers.remote import RemoteExecutor

from flowdapt.executors import Host


class Staying(RemoteExecutor):
    """To be mixed into an executor."""

    async def start(self, host: Host) -> None:
        """Connect, the first time."""
        if self._link is None:
            await super().start(host)
        self._host = host

    async def stop(self) -> None:
        """Stay; whoever made it calls :meth:`end`."""

    async def end(self) -> None:
        """Let go of the cluster."""
        await super().stop()
