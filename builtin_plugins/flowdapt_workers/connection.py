"""The connection of an executor to its cluster, which is made anew whenever it is lost."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import astuple
from pathlib import Path
from typing import Any

import flowdapt
from flowdapt.context import PLACES
from flowdapt.errors import ServerError
from flowdapt.executors import Host
from flowdapt_workers.clusters import Surroundings
from flowdapt_workers.link import Link
from flowdapt_workers.parts import Held
from flowdapt_workers.wire import Message

logger = logging.getLogger(__name__)

STOP_SECONDS = 1.0  #: how long what is cancelled may take to end
RECONNECT_SECONDS = 1.0, 30.0  #: the first pause before another attempt, and the longest


class Connection:
    """A gateway to a cluster, and another one where that has ended.

    :param cluster: address of the :class:`~flowdapt_workers.clusters.Cluster`
    :param name: for people
    :param objects: what processes attach to the cluster's own memory with; empty where it has none
    :param options: for the cluster
    :param received: called with each message of a gateway
    :param lost: called when one has ended with all that it held
    :param away: called when the cluster cannot be reached for the time being
    :param back: called when it is reached again
    :ivar link: the gateway, while there is one
    :ivar down: why the cluster cannot be reached; empty while it can
    :ivar facts: what the cluster says of itself
    """

    def __init__(
        self,
        cluster: str,
        name: str,
        objects: str,
        options: Mapping[str, Any],
        *,
        received: Callable[[Message], None],
        lost: Callable[[], None],
        away: Callable[[], None],
        back: Callable[[], None],
    ) -> None:
        self.link: Link | None = None
        self.facts: dict[str, Any] = {}
        self.down = ""
        self.options = options
        self._cluster, self._name, self._objects = cluster, name, objects
        self._received, self._lost, self._away, self._back = received, lost, away, back
        self._host: Host
        self._reconnecting: asyncio.Task[None] | None = None

    async def open(self, host: Host) -> None:
        """Connect.

        :raises ServerError: the cluster cannot be reached
        """
        self._host = host
        if (error := await self._connect()) is not None:
            raise ServerError(f"the {self._name} cluster is not available: {error[0]}")

    async def close(self) -> None:
        """Let go of the cluster; one that was started for this server ends."""
        if self._reconnecting is not None:
            self._reconnecting.cancel()
            await asyncio.gather(self._reconnecting, return_exceptions=True)
        link, self.link = self.link, None
        if link is not None:
            await link.close()

    def send(self, *message: Any) -> None:
        """Send a message; nothing happens while there is no gateway."""
        if self.link is not None:
            self.link.send(*message)

    async def fetch(self, parts: list[Held]) -> list[bytes] | None:
        """Return payloads that the cluster holds; nothing if they are lost."""
        return None if self.link is None else await self.link.fetch(parts)

    async def cancel(self, orders: list[int]) -> None:
        """Have orders stopped, and wait for that as long as it may take."""
        if self.link is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(self.link.cancel(orders), STOP_SECONDS)

    async def prepare(self, plugins: str, wheels: Path, *, look: bool) -> dict[str, str]:
        """Return what is wrong with a plugin set, by node, once it is prepared or looked at."""
        down = self.down or "the connection is lost"
        if self.link is not None:
            found = await self.link.prepare(plugins, wheels, look=look)
            if found is not None:
                return found
        return {f"the {self._name} cluster": f"it cannot be reached: {down}"}

    async def _connect(self) -> tuple[str, bool] | None:
        """Start a gateway; return why it does not reach the cluster, and whether it never will."""
        environment, socket = {}, None
        if (places := self._host.places) is not None:
            environment[PLACES] = json.dumps(astuple(places))
            if places.memory is not None and places.memory.target == self._objects:
                socket = Path(json.loads(places.memory.options)["path"])
        link = Link(self._received, self._gone)
        surroundings = Surroundings(
            server=link.name,
            version=flowdapt.__version__,
            app_dir=self._host.app_dir,
            environment=environment,
            log_level=self._host.log_level,
            socket=socket,
        )
        try:
            answer = await link.open(self._cluster, self.options, surroundings)
        except OSError as error:  # such as that no process can be started
            await link.close()
            return str(error), False
        except BaseException:  # such as that the executor is stopped
            await link.close()
            raise
        if answer[0] != "up":
            await link.close()
            return answer[1], answer[2]
        self.facts, self.down, self.link = answer[1], "", link
        return None

    def _gone(self) -> None:
        """Notice that the gateway ended; have another one take over."""
        link, self.link = self.link, None
        if link is None:
            return
        self.down = self.down or "the process that held the connection ended"
        logger.error("the %s cluster is lost: %s", self._name, self.down)
        self._lost()
        self._reconnecting = asyncio.create_task(self._reconnect(link))

    async def _reconnect(self, old: Link) -> None:
        """Try to reach the cluster until that works."""
        await old.close(at_once=True)
        pause, longest = RECONNECT_SECONDS
        while (error := await self._connect()) is not None:
            self.down, final = error
            logger.warning("the %s cluster is not available: %s", self._name, self.down)
            if final:  # until somebody changes something
                pause = longest
            self._away()
            await asyncio.sleep(pause)
            pause = min(2 * pause, longest)
        logger.warning("the %s cluster is available again", self._name)
        self._back()
