"""Which process died, where a task was lost before its process said that it has it."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Any

from flowdapt_ray.attendants import Attendant
from flowdapt_ray.listing import Listing

logger = logging.getLogger(__name__)

ANSWER_SECONDS = 2.0  #: how long Ray may take to say
TIMES = 10  #: Ray is asked, because a death may come to be known after the loss of its task
PAUSE_SECONDS = 0.1  #: in between


class Deaths:
    """Processes of the cluster that died, as the head node lists them.

    :param attendant: what calls Ray
    """

    def __init__(self, attendant: Attendant, listing: Listing) -> None:
        self._attendant, self._listing = attendant, listing
        self._known: set[bytes] = set()
        self._asking: asyncio.Task[str] | None = None

    async def begin(self) -> None:
        """Learn which died before."""
        with suppress(Exception):
            await self._new()

    async def newest(self) -> str:
        """Return what died since this was asked last, as far as it can be but one; else nothing.

        Whoever asks while Ray is asked gets the same answer.
        """
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._newest())
        return await asyncio.shield(self._asking)

    async def _newest(self) -> str:
        for _ in range(TIMES):
            try:
                new = await self._new()
            except Exception as error:  # there is no public way to ask; it may end with any release
                logger.debug("Ray does not say which process died: %r", error)
                return ""
            if new:
                break
            await asyncio.sleep(PAUSE_SECONDS)
        nodes = {node for _, node in new}
        if len(nodes) != 1:
            return ""
        if len(new) == 1:
            return self._listing.worker_name(*new[0])
        return f"a process on {self._listing.name(nodes.pop())}"

    async def _new(self) -> list[tuple[int, str]]:
        """Return process and node of those that were not known yet."""
        async with asyncio.timeout(ANSWER_SECONDS):
            died = await self._attendant.call(_died)
        new = [where for worker, where in died.items() if worker not in self._known]
        self._known = set(died)
        return new


def _died() -> dict[bytes, tuple[int, str]]:
    """Return process and node of workers that did not end by themselves, by their ids."""
    from ray._private import state
    from ray.core.generated import common_pb2, gcs_pb2

    asking: Any = state.state
    messages: Any = gcs_pb2
    kinds: Any = common_pb2
    table = asking._connect_and_get_accessor().get_worker_table()
    workers = [messages.WorkerTableData.FromString(worker) for worker in table]
    bad = (kinds.WorkerExitType.SYSTEM_ERROR, kinds.WorkerExitType.NODE_OUT_OF_MEMORY)
    return {
        worker.worker_address.worker_id: (worker.pid, _node(worker.worker_address))
        for worker in workers
        if not worker.is_alive and worker.exit_type in bad
    }


def _node(address: Any) -> str:
    """Return the id of the node at an address; its name is another one in earlier releases."""
    key: bytes = address.node_id if hasattr(address, "node_id") else address.raylet_id
    return key.hex()
