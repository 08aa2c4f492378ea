"""Brings to workers what they lack to compute orders, and ask for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from pathlib import Path
from typing import Any

from flowdapt_sets.errors import SetUnusable
from flowdapt_sets.paths import WHEELS
from flowdapt_workers.clusters import OrderLost

from flowdapt_dask import entry, preparing
from flowdapt_dask.orders import Sent

logger = logging.getLogger(__name__)


class Giving:
    """Gives each worker a thing once, however many orders need it.

    :param client: of Dask
    :param server: its name
    :param app_dir: has the wheels of plugins
    :param sent: the orders that are under way, as they come and go
    """

    def __init__(self, client: Any, server: str, app_dir: Path, sent: Collection[Sent]) -> None:
        self._client, self._server, self._sent = client, server, sent
        self._wheels = app_dir / WHEELS
        self._under_way: set[tuple[str, str, str]] = set()

    async def give(self, kind: str, name: str, address: str) -> None:
        """Give a thing to a worker, unless it is on its way or nobody needs it any more.

        :param kind: ``context`` of a run, ``code`` of its user modules, or ``wheel``
        """
        if (kind, name, address) in self._under_way:
            return
        self._under_way.add((kind, name, address))
        try:
            thing = await self._wheel(name) if kind == "wheel" else self._found(kind, name)
            if thing is not None:
                await self._brought(kind, name, thing, address)
        finally:
            self._under_way.remove((kind, name, address))

    def _found(self, kind: str, name: str) -> bytes | None:
        for sent in self._sent:
            if name == {"context": sent.order.task.run, "code": sent.order.code}[kind]:
                return sent.things[kind]
        return None

    async def _wheel(self, name: str) -> bytes:
        try:
            return await asyncio.to_thread(preparing.content_of, name, self._wheels)
        except SetUnusable as error:
            logger.error("%s", error)
            return b""  # which has another hash, and is refused with that

    async def _brought(self, kind: str, name: str, thing: bytes, address: str) -> None:
        given = self._server, kind, name, thing
        try:
            await self._client.run(entry.give, *given, workers=[address])
        except Exception as error:  # it may be larger than a message can be
            said = f"its {kind} cannot be sent to {address}: {type(error).__name__}: {error}"
            for sent in list(self._sent):
                if sent.things.get(kind) is thing and not sent.begun:
                    sent.fail(OrderLost(said))
