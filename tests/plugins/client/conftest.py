"""Clients, and servers for them: a stand-in that does as a test says, and a real one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from flowdapt.client import AsyncClient, Client

from .standin import StandIn, standing_in

WORKFLOW = {
    "kind": "workflow",
    "metadata": {"name": "fruit"},
    "spec": {"stages": [{"name": "pick", "target": "fruit.pick"}]},
}


@pytest.fixture
def server() -> Iterator[StandIn]:
    with standing_in() as server:
        server.put(WORKFLOW)
        yield server


@pytest.fixture
def client(server: StandIn) -> Iterator[Client]:
    with Client(server.address) as client:
        yield client


@pytest.fixture
async def awaited(server: StandIn) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(server.address) as client:
        yield client
