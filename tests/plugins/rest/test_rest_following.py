"""Following, cancelling and deleting runs."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import httpx
import pytest

from flowdapt.storage import LogBlock

if TYPE_CHECKING:
    from flowdapt.server import Server

pytestmark = pytest.mark.anyio

V1 = {"X-API-Version": "workflow_run.v1"}


async def test_a_cancelled_run_is_failed_to_published_clients_and_cancelled_in_v1(
    workflows: httpx.AsyncClient, stages: Any
) -> None:
    run = (await workflows.post("/workflows/waiting/run?wait=false")).json()
    await stages.reached.wait()
    url = f"/workflows/run/{run['uid']}"

    cancelled = (await workflows.post(f"{url}/cancel", headers=V1)).json()

    assert cancelled["state"] == "cancelled"
    published = (await workflows.get(url)).json()
    assert published["state"] == "failed"
    assert published["result"] == ["RunCancelled", "the run was cancelled"]


async def test_cancelling_a_run_that_has_ended_leaves_it_as_it_is(
    workflows: httpx.AsyncClient,
) -> None:
    run = (await workflows.post("/workflows/echo/run")).json()

    assert (await workflows.post(f"/workflows/run/{run['name']}/cancel")).json() == run


async def test_a_cancel_that_comes_as_the_run_ends_does_not_lose_how_it_ended(
    workflows: httpx.AsyncClient, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    storing, go_on, save = asyncio.Event(), asyncio.Event(), server.storage.save_run

    async def slow(*args: Any, **options: Any) -> None:
        storing.set()
        await go_on.wait()
        await save(*args, **options)

    monkeypatch.setattr(server.storage, "save_run", slow)
    waiting = asyncio.create_task(workflows.post("/workflows/echo/run"))
    await storing.wait()
    (run,) = (await workflows.get("/workflows/echo/run")).json()
    cancelling = asyncio.create_task(workflows.post(f"/workflows/run/{run['uid']}/cancel"))
    await workflows.get("/")
    go_on.set()

    assert (await waiting).json()["state"] == "finished"
    assert (await cancelling).json()["state"] == "finished"


async def test_deleting_a_run_returns_it(workflows: httpx.AsyncClient) -> None:
    run = (await workflows.post("/workflows/echo/run")).json()

    deleted = (await workflows.delete(f"/workflows/run/{run['uid']}")).json()

    assert deleted == run
    assert (await workflows.get(f"/workflows/run/{run['uid']}")).status_code == 404


async def test_a_run_in_progress_can_be_deleted(workflows: httpx.AsyncClient, stages: Any) -> None:
    run = (await workflows.post("/workflows/waiting/run?wait=false")).json()
    await stages.reached.wait()

    deleted = await workflows.delete(f"/workflows/run/{run['name']}")

    assert deleted.status_code == 200
    assert deleted.json()["state"] == "failed"


async def test_stages_are_seen_while_they_run_and_afterwards(
    workflows: httpx.AsyncClient, stages: Any
) -> None:
    run = (await workflows.post("/workflows/waiting/run?wait=false")).json()
    url = f"/workflows/run/{run['name']}/stages"
    await stages.reached.wait()

    during = (await workflows.get(url)).json()
    stages.gate.set()
    await workflows.post("/workflows/echo/run")
    afterwards = (await workflows.get(url)).json()

    assert [(s["stage"], s["state"]) for s in during] == [("only", "running")]
    assert [(s["stage"], s["state"]) for s in afterwards] == [("only", "finished")]
    assert afterwards[0]["finished_at"]


async def test_a_log_is_read_in_parts(workflows: httpx.AsyncClient, server: Server) -> None:
    run = (await workflows.post("/workflows/echo/run")).json()
    for text in ("one", "two", "three"):
        line = json.dumps({"message": text}).encode() + b"\n"
        await server.storage.append_log(UUID(run["uid"]), LogBlock("only", line * 2, 2))
    url = f"/workflows/run/{run['uid']}/logs"

    first = (await workflows.get(f"{url}?limit=2")).json()
    rest = (await workflows.get(f"{url}?after={first['next']}")).json()
    end = (await workflows.get(f"{url}?after={rest['next']}")).json()

    lines = [{"message": "one"}, {"message": "one"}]
    assert first["blocks"][0] == {"position": 1, "stage": "only", "lines": lines}
    assert [block["position"] for block in first["blocks"]] == [1, 2]
    assert [block["position"] for block in rest["blocks"]] == [3]
    assert end == {"blocks": [], "next": 3}


@pytest.mark.parametrize("what", ["stages", "logs"])
async def test_routes_of_our_own_are_v1_only(client: httpx.AsyncClient, what: str) -> None:
    url = f"/workflows/run/{uuid4()}/{what}"

    refused = await client.get(url, headers={"X-API-Version": "workflow_run.v1alpha1"})
    unknown = await client.get(url)

    assert refused.status_code == 400
    assert unknown.status_code == 404
