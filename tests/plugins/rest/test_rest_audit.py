"""What is recorded of requests, and how it is read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from flowdapt_rest.app import make_app
from flowdapt_rest.audit import REFUSALS
from flowdapt_rest.roles import Role
from flowdapt_rest.service import RestService
from flowdapt_rest.tokens import Tokens

from flowdapt.events import Event
from flowdapt.server import Server
from tests.plugins.rest.conftest import check_error
from tests.plugins.rest.replies import Replies

pytestmark = pytest.mark.anyio

HEADER = {"X-API-Version": "audit.v1"}


@pytest.fixture
def overrides() -> list[str]:
    return ["rpc.api.require_token=true"]


@pytest.fixture
async def client(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    """A client with a token that may do everything."""
    app = make_app(server)
    _, text = await Tokens(server.engine.storage).create("boss", Role.ADMIN)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app),
        base_url="http://flowdapt",
        headers={"Authorization": f"Bearer {text}"},
        event_hooks={"response": [check_error, Replies.of(app).check]},
    ) as client:
        yield client


async def entries(client: httpx.AsyncClient, **query: str | int) -> list[dict[str, Any]]:
    reply = await client.get("/audit", params=query, headers=HEADER)
    assert reply.status_code == 200
    found: list[dict[str, Any]] = reply.json()["entries"]
    return found


async def config(client: httpx.AsyncClient, name: str) -> None:
    given = {"metadata": {"name": name}, "spec": {"data": {}}}
    assert (await client.post("/configs/", json=given)).status_code == 200


async def test_what_changes_something_is_recorded(
    client: httpx.AsyncClient, server: Server
) -> None:
    await config(client, "made")
    await client.delete("/configs/other")

    made, absent = await entries(client)

    (token,) = await Tokens(server.engine.storage).list()
    assert made.pop("time") < absent.pop("time")
    assert made.pop("position") < absent.pop("position")
    assert made == {
        "actor": "boss",
        "token": token.id,
        "method": "POST",
        "path": "/configs/",
        "operation": "create_config",
        "status": 200,
        "address": "127.0.0.1",
    }
    assert (absent["operation"], absent["status"]) == ("delete_config", 404)


async def test_reading_is_not(client: httpx.AsyncClient) -> None:
    for path in ("/configs/", "/audit", "/nothing"):
        await client.get(path)

    assert await entries(client) == []


async def test_whatever_is_refused_is_recorded(client: httpx.AsyncClient, server: Server) -> None:
    low, text = await Tokens(server.engine.storage).create("low", Role.READ)
    wrong = f"fd_{low.id}_{'0' * 64}"
    await client.get("/audit", headers={"Authorization": f"Bearer {text}"})
    await client.get(f"/configs/{text}", headers={"Authorization": f"Bearer {wrong}"})
    await client.post("/configs/", headers={"Origin": "https://elsewhere.example"}, content=b"{}")

    told = await entries(client)

    facts = [(e["status"], e["actor"], e["token"], e["operation"]) for e in told]
    assert facts == [
        (403, "low", low.id, "list_audit"),
        (401, "anonymous", low.id, ""),  # the id is what was claimed
        (403, "anonymous", "", ""),
    ]
    assert text.rpartition("_")[2] not in str(told)
    assert wrong.rpartition("_")[2] not in str(told)


async def test_whoever_needs_no_token_leaves_no_trace(
    client: httpx.AsyncClient, server: Server
) -> None:
    transport = httpx.ASGITransport(make_app(server, token_needed=False))
    async with httpx.AsyncClient(transport=transport, base_url="http://flowdapt") as local:
        await config(local, "made")

    assert await entries(client) == []


async def test_it_is_read_part_by_part_and_by_actor(
    client: httpx.AsyncClient, server: Server
) -> None:
    _, text = await Tokens(server.engine.storage).create("ci", Role.ADMIN)
    for number in range(6):
        header = {"Authorization": f"Bearer {text}"} if number % 2 else {}
        await client.delete(f"/configs/{number}", headers=header)

    first = (await client.get("/audit", params={"limit": 4}, headers=HEADER)).json()
    rest = (await client.get("/audit", params={"after": first["next"]}, headers=HEADER)).json()
    none = (await client.get("/audit", params={"after": rest["next"]}, headers=HEADER)).json()
    by_ci = (await client.get("/audit?actor=ci&limit=2", headers=HEADER)).json()
    newest = {"order": "newest", "limit": "4"}
    last = (await client.get("/audit", params=newest, headers=HEADER)).json()
    older = newest | {"after": last["next"]}
    before = (await client.get("/audit", params=older, headers=HEADER)).json()

    assert [e["position"] for e in first["entries"]] == [1, 2, 3, 4]
    assert [e["position"] for e in rest["entries"]] == [5, 6]
    assert none == {"entries": [], "next": 6}
    assert [e["position"] for e in last["entries"]] == [6, 5, 4, 3]
    assert [e["position"] for e in before["entries"]] == [2, 1]
    assert [e["path"] for e in by_ci["entries"]] == ["/configs/1", "/configs/3"]
    assert by_ci["next"] == 4


async def test_a_storage_that_fails_does_not_fail_the_request(
    client: httpx.AsyncClient,
    server: Server,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def full(event: Event) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(server.engine.storage, "append_event", full)

    await config(client, "made")

    assert "missing in the audit trail" in caplog.text
    assert "'operation': 'create_config'" in caplog.text


async def test_a_flood_of_strangers_is_cut_short(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    now = [0.0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("flowdapt_rest.audit.monotonic", lambda: now[0])
        for _ in range(REFUSALS + 5):
            await client.get("/configs/", headers={"Authorization": "Bearer wrong"})
        await config(client, "made")
        now[0] = 60.0
        await client.get("/configs/", headers={"Authorization": "Bearer wrong"})

    statuses = [entry["status"] for entry in await entries(client, limit=1000)]
    assert statuses == [401] * REFUSALS + [200, 401]
    assert "5 refusals are missing" in caplog.text


async def test_the_refusals_of_one_token_are_cut_short_and_what_it_changes_is_not(
    client: httpx.AsyncClient, server: Server
) -> None:
    _, text = await Tokens(server.engine.storage).create("looker", Role.READ)
    for _ in range(REFUSALS + 5):
        reply = await client.post("/drain", headers={"Authorization": f"Bearer {text}"})
        assert reply.status_code == 403
    await config(client, "made")

    kept = await entries(client, limit=1000)

    assert [entry["actor"] for entry in kept] == ["looker"] * REFUSALS + ["boss"]


async def test_a_run_is_recorded_before_it_is_waited_for(
    client: httpx.AsyncClient, stages: Any
) -> None:
    stage = {"name": "only", "target": "rest_stages.waiting"}
    given = {"metadata": {"name": "waiting"}, "spec": {"stages": [stage]}}
    await client.post("/workflows/", json=given)
    waiting = asyncio.create_task(client.post("/workflows/waiting/run"))
    await stages.reached.wait()

    operations = [entry["operation"] for entry in await entries(client)]
    stages.gate.set()
    await waiting

    assert operations == ["create_workflow", "run_workflow"]
    assert [entry["operation"] for entry in await entries(client)] == operations


async def test_it_is_no_business_of_those_who_follow_events(
    client: httpx.AsyncClient, server: Server
) -> None:
    _, text = await Tokens(server.engine.storage).create("low", Role.READ)
    await config(client, "made")

    low = {"Authorization": f"Bearer {text}"}
    every = (await client.get("/events", headers=low)).json()["events"]
    asked = await client.get("/events?channel=audit", headers=low)

    assert [event["channel"] for event in every] == ["resources"]
    assert asked.status_code == 403


async def test_a_proxy_on_this_machine_says_whom_it_speaks_for(
    client: httpx.AsyncClient, server: Server
) -> None:
    service = RestService(server)
    await service.start()
    async with httpx.AsyncClient(base_url=server.addresses["rest"]) as behind:
        token = {"Authorization": client.headers["Authorization"]}
        for headers in ({}, {"X-Forwarded-For": "203.0.113.9"}):
            await behind.delete("/configs/x", headers=token | headers)
    await service.stop()

    assert [entry["address"] for entry in await entries(client)] == ["127.0.0.1", "203.0.113.9"]
