"""Logs of runs, followed while they are written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

import httpx
import pytest

from flowdapt.storage import LogBlock
from tests.plugins.rest.listening import listening

if TYPE_CHECKING:
    from flowdapt.server import Server

pytestmark = pytest.mark.anyio


def block(text: str) -> LogBlock:
    return LogBlock("only", b'{"message": "%s"}\n' % text.encode(), 1)


@pytest.fixture
async def run(live: httpx.AsyncClient, stages: Any) -> dict[str, Any]:
    """A run that waits at the gate."""
    found: dict[str, Any] = (await live.post("/workflows/waiting/run?wait=false")).json()
    await stages.reached.wait()
    return found


async def test_lines_are_told_as_they_are_written_until_the_run_has_ended(
    live: httpx.AsyncClient, server: Server, stages: Any, run: dict[str, Any]
) -> None:
    server.engine._on_log(UUID(run["uid"]), block("before"))
    async with listening(live, f"/workflows/run/{run['name']}/logs") as listener:
        first = await listener.next()
        server.engine._on_log(UUID(run["uid"]), block("after"))
        second = await listener.next()
        stages.gate.set()
        *none, end = await listener.all()

    assert [m.event for m in (first, second, end)] == ["log", "log", "end"]
    assert [m.data["lines"][0]["message"] for m in (first, second)] == ["before", "after"]
    assert (first.id, first.data["position"], first.data["stage"]) == ("1", 1, "only")
    assert none == []
    assert (end.data["uid"], end.data["state"], end.data["result"]) == (
        run["uid"],
        "finished",
        "through",
    )


async def test_who_comes_back_goes_on_behind_the_last_lines(
    live: httpx.AsyncClient, server: Server, stages: Any, run: dict[str, Any]
) -> None:
    path = f"/workflows/run/{run['uid']}/logs"
    for number in range(250):  # more than are read at once
        await server.storage.append_log(UUID(run["uid"]), block(str(number)))
    async with listening(live, path) as listener:
        last = [await listener.next() for _ in range(120)][-1].id
    stages.gate.set()

    async with listening(live, path, after=last) as listener:
        *messages, end = await listener.all()

    assert [m.data["lines"][0]["message"] for m in messages] == [str(n) for n in range(120, 250)]
    assert end.event == "end"


async def test_the_log_of_a_run_that_has_ended_ends_at_once(live: httpx.AsyncClient) -> None:
    run = (await live.post("/workflows/large/run")).json()

    async with listening(live, f"/workflows/run/{run['uid']}/logs") as listener:
        (end,) = await listener.all()

    assert (end.event, end.data["state"]) == ("end", "finished")
    assert (end.data["result_bytes"], "result" in end.data) == (100_002, False)


async def test_a_run_that_is_deleted_ends_the_stream(
    live: httpx.AsyncClient, run: dict[str, Any]
) -> None:
    async with listening(live, f"/workflows/run/{run['uid']}/logs") as listener:
        await live.delete(f"/workflows/run/{run['uid']}")
        assert all(message.event == "end" for message in await listener.all())


async def test_the_log_of_a_run_that_there_is_not_is_not_found(live: httpx.AsyncClient) -> None:
    response = await live.get("/workflows/run/nobody/logs", headers={"Accept": "text/event-stream"})

    assert response.status_code == 404
    assert response.json()["detail"] == "no workflow_run named 'nobody'"
