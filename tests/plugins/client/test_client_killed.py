"""Followers of a server that is killed, and starts again."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from flowdapt.client import AsyncClient, Event
from flowdapt.errors import FlowdaptError
from flowdapt.events import RESOURCE_CREATED
from tests.plugins.cli.processes import free_port, serving


def config(number: int) -> dict[str, object]:
    return {"kind": "config", "metadata": {"name": f"c-{number}"}, "spec": {"data": {}}}


@pytest.mark.anyio
async def test_nothing_is_lost_or_told_twice_where_a_server_is_killed(tmp_path: Path) -> None:
    port = free_port()
    opened = asyncio.Event()
    told: list[Event] = []

    async def listen(client: AsyncClient) -> None:
        async with client.events.follow(types=[RESOURCE_CREATED], opened=opened.set) as events:
            async for event in events:
                told.append(event)
                if event.data["name"] == "c-9":
                    return

    async with AsyncClient(f"127.0.0.1:{port}") as client:
        with serving(tmp_path, "-o", f"rpc.api.port={port}"):
            listening = asyncio.create_task(listen(client))
            await asyncio.wait_for(opened.wait(), 30)
            creating = [asyncio.create_task(client.configs.create(config(n))) for n in range(9)]
            await creating[0]  # and with the context, the server is killed amid the others
        done = await asyncio.gather(*creating, return_exceptions=True)
        with serving(tmp_path, "-o", f"rpc.api.port={port}"):
            await client.configs.create(config(9))
            await asyncio.wait_for(listening, 30)
            kept = [event async for event in client.events.list(types=[RESOURCE_CREATED])]

    assert [event.position for event in told] == [event.position for event in kept]
    stored = {event.data["name"] for event in told}
    refused = [isinstance(one, FlowdaptError) for one in done]
    assert {f"c-{n}" for n, lost in enumerate(refused) if not lost} <= stored
