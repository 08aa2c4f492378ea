"""Who comes back later than events are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from flowdapt.events import RESOURCE_CREATED, WORKFLOWS
from tests.plugins.rest.listening import listening

if TYPE_CHECKING:
    from flowdapt.server import Server

pytestmark = pytest.mark.anyio

A, B = ({"metadata": {"name": name}, "spec": {"data": {}}} for name in "ab")


async def test_who_was_away_for_too_long_is_told_what_is_missing(
    live: httpx.AsyncClient, server: Server
) -> None:
    run = (await live.post("/workflows/echo/run")).json()
    last = (await live.get("/events")).json()["next"]
    await live.post("/workflows/echo/run")
    await live.post("/configs/", json=A)
    end = (await live.get("/events")).json()["next"]
    await server.storage.trim_events(WORKFLOWS, 0, limit=100)

    async with listening(live, "/events", after=str(last)) as listener:
        gap, rest = await listener.next(), await listener.next()
    async with listening(live, "/events?channel=resources", after=str(last)) as listener:
        resource = await listener.next()
    async with listening(live, "/events?after=0") as listener:
        first = await listener.next()
    async with listening(live, f"/events?after={end}") as listener:
        await live.post("/configs/", json=B)
        newer = await listener.next()
    ended = f"/workflows/run/{run['uid']}/events"
    async with listening(live, ended, after=str(last - 1)) as listener:
        of_run = await listener.all()

    assert (gap.event, gap.id, gap.data) == ("gap", None, {"after": last, "before": end})
    assert rest.data["data"]["name"] == "a"
    assert resource.event == newer.event == first.event == RESOURCE_CREATED
    assert [message.event for message in of_run] == ["gap"]
