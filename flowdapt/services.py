"""The contract of a service: a long-lived part, started in order and stopped in reverse."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from flowdapt.server import Server

logger = logging.getLogger(__name__)


class Service(ABC):
    """A long-lived part, such as the HTTP interface.

    :param server: what the service belongs to; its engine is ready when the service is started
    :param options: the service's own section of the settings
    """

    order: ClassVar[int] = 50  #: services are started in this order, and by name within it

    def __init__(self, server: Server, **options: Any) -> None:
        self.server, self.options = server, options

    @abstractmethod
    async def start(self) -> None:
        """Begin to work; return once the service is up."""

    @abstractmethod
    async def stop(self) -> None:
        """End; called only after a start that succeeded."""


@asynccontextmanager
async def serving(services: Iterable[Service]) -> AsyncIterator[None]:
    """Have services up while this is entered: all of them, or none."""
    async with AsyncExitStack() as stack:
        for service in services:
            await service.start()
            stack.push_async_callback(_stop, service)
        yield


async def _stop(service: Service) -> None:
    try:
        await service.stop()
    except Exception:  # the others are to be stopped all the same
        logger.exception("service %s did not stop cleanly", type(service).__name__)
