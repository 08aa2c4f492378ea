"""The list of nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from flowdapt.executors import Node

if TYPE_CHECKING:
    from flowdapt.server import Server

pytestmark = pytest.mark.anyio


async def test_nodes_are_listed_with_what_is_free(
    client: httpx.AsyncClient, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nodes() -> list[Node]:
        total = {"cpus": 4.0, "memory": 1e9}
        return [
            Node("barn", True, total, {"cpus": 1.5, "memory": 1e9}, 3),
            Node("shed", True, total, total, 0, problem="it has flowdapt 0.9, the server 1.0.0"),
            Node("field", False, {}, {}, 0, plugin_set="3f2a"),
        ]

    monkeypatch.setattr(server.engine.executor, "nodes", nodes)

    response = await client.get("/nodes")

    assert response.status_code == 200
    assert [(node["name"], node["state"], node["workers"]) for node in response.json()] == [
        ("barn", "ready", 3),
        ("shed", "unusable", 0),
        ("field", "lost", 0),
    ]
    assert response.json()[0]["free"] == {"cpus": 1.5, "memory": 1e9}
    assert response.json()[1]["problem"] == "it has flowdapt 0.9, the server 1.0.0"
    assert response.json()[2]["plugin_set"] == "3f2a"


async def test_the_machine_of_the_server_is_a_node(client: httpx.AsyncClient) -> None:
    (node,) = (await client.get("/nodes")).json()

    assert (node["state"], node["problem"]) == ("ready", "")
    assert node["free"]["cpus"] <= node["resources"]["cpus"]
