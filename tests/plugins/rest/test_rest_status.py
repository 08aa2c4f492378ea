"""Ping, status and drain."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from flowdapt import __version__

if TYPE_CHECKING:
    from flowdapt.server import Server

pytestmark = pytest.mark.anyio


async def test_ping_says_who_answers(client: httpx.AsyncClient) -> None:
    response = await client.get("/")

    assert response.json() == {"app": "flowdapt", "version": __version__, "api_version": "v1"}


async def test_status_has_every_field_in_the_type_that_clients_check(
    client: httpx.AsyncClient, server: Server
) -> None:
    status = (await client.get("/status")).json()

    assert status["version"] == __version__
    assert status["name"] == server.settings.name
    types = {
        "time": str,
        "cpu_pct": float,
        "memory": int,
        "disk_pct": float,
        "network_io_sent": int,
        "network_io_recv": int,
        "threads": int,
        "fds": int,
        "pid": int,
    }
    assert {key: type(value) for key, value in status["system"].items()} == types
    assert status["system"]["pid"] == os.getpid()
    assert len(status["system"]["time"]) == len("2031-04-05 06:07:08")
    assert status["os"].keys() == {"name", "version", "release", "machine"}
    assert isinstance(status["python"], str)
    assert isinstance(status["hostname"], str)
    assert status["database"] == "flowdapt_embedded.memory.MemoryStorage"
    keys = {"version", "name", "system", "os", "python", "hostname", "services", "database"}
    assert status.keys() == keys


async def test_status_names_the_services_that_the_dashboard_reads(
    client: httpx.AsyncClient, server: Server
) -> None:
    class Other:
        pass

    services: dict[str, Any] = server.services
    before = (await client.get("/status")).json()["services"]
    services |= {"triggers": Other(), "other": Other()}
    after = (await client.get("/status")).json()["services"]

    assert before["CoreService"] == {"status": "OK"}
    assert before["TriggerService"] == {"status": "NOT_OK"}
    assert before["ComputeService"] == {
        "status": "OK",
        "executor": "flowdapt_workers.inline.InlineExecutor",
        "environment": server.executor.describe(),
    }
    assert after["TriggerService"] == {"status": "OK"}
    assert after["Other"] == {"status": "OK"}


async def test_status_in_v1_tells_more(client: httpx.AsyncClient) -> None:
    await client.post("/drain")

    status = (await client.get("/status", headers={"X-API-Version": "system.v1"})).json()

    assert status["draining"] is True
    assert status["addresses"] == {}


async def test_draining_begins_and_ends(workflows: httpx.AsyncClient) -> None:
    begun = await workflows.post("/drain")
    again = await workflows.post("/drain")
    ended = await workflows.delete("/drain")

    assert begun.json() == again.json() == {"draining": True}
    assert ended.json() == {"draining": False}
    assert (await workflows.post("/workflows/echo/run")).status_code == 200


async def test_nobody_can_ask_whether_the_server_drains(client: httpx.AsyncClient) -> None:
    assert (await client.get("/drain")).status_code == 405
