"""The workers of a Dask cluster: which there are, and which take orders."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from flowdapt.executors import Node
from flowdapt_dask import entry
from flowdapt_dask.agent import short_name
from flowdapt_dask.placing import Place

logger = logging.getLogger(__name__)

PREPARE_SECONDS = 10.0  #: how long a new worker may take to get ready


class Workers:
    """The workers of a cluster.

    :param version: of flowdapt, which they must have
    """

    def __init__(self, version: str) -> None:
        self._version = version
        #: those that take orders, by their addresses
        self.places: dict[str, Place] = {}
        #: others, with the reason why they take none
        self.unfit: dict[str, Node] = {}

    async def look(self, client: Any) -> tuple[bool, Sequence[Place]]:
        """Look which there are, and have new ones take orders.

        :return: whether any came, and which are gone
        """
        known = (await client.scheduler.identity())["workers"]
        gone = [self.places.pop(address) for address in [*self.places] if address not in known]
        for address in [*self.unfit]:
            if address not in known:
                del self.unfit[address]
        for address, place in self.places.items():
            place.running = known[address].get("status", "running") == "running"
        new = [address for address in known if not {address} & (self.places | self.unfit).keys()]
        names = {address: short_name(known[address]["name"], address) for address in new}
        came = await asyncio.gather(*(self._prepare(client, *item) for item in names.items()))
        return any(came), gone

    async def _prepare(self, client: Any, address: str, name: str) -> bool:
        """Have a worker take orders, and tell whether it does."""
        try:
            async with asyncio.timeout(PREPARE_SECONDS):
                answers = await client.run(entry.prepare, self._version, workers=[address])
        except OSError as error:  # it hangs, or is gone again; then it is not there next time
            logger.warning("the Dask worker %s does not answer: %r", name, error)
            return False
        except Exception as error:
            self._refuse(address, name, error)
            return False
        answer = answers[address]
        if isinstance(answer, str):
            self._refuse(address, name, answer)
            return False
        self.places[address] = Place(address, name, answer)
        return True

    def _refuse(self, address: str, name: str, answer: object) -> None:
        said = _complaint(name, answer, self._version)
        self.unfit[address] = Node(name, True, {}, {}, 0, problem=said)
        logger.error("%s", said)


def _complaint(name: str, answer: object, version: str) -> str:
    """Say why a worker takes no orders.

    :param answer: the version of flowdapt that it has, or what was raised there
    """
    if isinstance(answer, str):
        return (
            f"the Dask worker {name} has flowdapt {answer}, and this server {version}: "
            "install the same version there"
        )
    said = f"the Dask worker {name} cannot compute stages: {type(answer).__name__}: {answer}"
    return f"{said}; install flowdapt[dask] {version} there"
