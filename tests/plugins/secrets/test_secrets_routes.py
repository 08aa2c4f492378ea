"""Secrets over HTTP: they can be set, and not be read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from flowdapt_rest.app import make_app
from flowdapt_secrets.routes import MOST_BYTES, routes

from tests.plugins.secrets.conftest import Desk, holding

pytestmark = pytest.mark.anyio

VALUE = "correct-horse-battery"


@pytest.fixture
def executor() -> str:
    return "inline"


@pytest.fixture
async def client(desk: Desk) -> AsyncIterator[httpx.AsyncClient]:
    async def never_shown(response: httpx.Response) -> None:
        assert VALUE not in (await response.aread()).decode()

    transport = httpx.ASGITransport(make_app(desk.server), raise_app_exceptions=False)
    hooks: dict[str, Any] = {"response": [never_shown]}
    async with httpx.AsyncClient(
        transport=transport, base_url="http://flowdapt", event_hooks=hooks
    ) as made:
        yield made


async def test_a_secret_is_set_listed_set_again_and_deleted(
    client: httpx.AsyncClient, desk: Desk
) -> None:
    assert (await client.get("/secrets/")).json() == []

    first = await client.put("/secrets/TOKEN", json={"value": VALUE})
    again = await client.put("/secrets/TOKEN", json={"value": VALUE + "!"})
    listed = await client.get("/secrets/")
    deleted = await client.delete("/secrets/TOKEN")

    assert [r.status_code for r in (first, again, listed, deleted)] == [200] * 4
    assert first.json().keys() == {"name", "created_at", "updated_at"}
    assert first.json()["name"] == "TOKEN"
    assert again.json()["created_at"] == first.json()["created_at"]
    assert again.json()["updated_at"] > first.json()["updated_at"]
    assert listed.json() == [again.json()]
    assert deleted.json() == again.json()
    assert (await client.get("/secrets/")).json() == []
    assert holding(desk.app_dir, VALUE) == []


async def test_replies_name_the_version_there_is(client: httpx.AsyncClient) -> None:
    for version in ({}, {"X-API-Version": "secret.v1"}):
        response = await client.get("/secrets/", headers=version)

        assert response.headers["content-type"] == "application/vnd.flowdapt.ai.secret.v1+json"
        assert response.headers["x-api-version"] == "v1"


async def test_another_version_is_refused_before_anything_is_stored(
    client: httpx.AsyncClient, desk: Desk
) -> None:
    headers = {"X-API-Version": "secret.v1alpha1"}

    response = await client.put("/secrets/TOKEN", json={"value": VALUE}, headers=headers)

    assert response.status_code == 400
    assert await desk.keeper.list() == []


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "value: Field required"),
        ({"value": ""}, f"value: is empty, and must have from 1 to {MOST_BYTES} bytes"),
        ({"value": [VALUE]}, "value: Input should be a valid string"),
        ({"value": None}, "value: Input should be a valid string"),
        ({"value": VALUE + "é" * (MOST_BYTES // 2)}, f"value: has {MOST_BYTES + 21} bytes"),
        ([VALUE], "must be a JSON object, not a list"),
        (VALUE, "must be a JSON object, not a text"),
    ],
)
async def test_what_is_no_value_is_refused_without_repeating_it(
    client: httpx.AsyncClient, desk: Desk, body: Any, message: str
) -> None:
    response = await client.put("/secrets/TOKEN", json=body)

    assert response.status_code == 400
    assert message in response.json()["detail"]
    assert await desk.keeper.list() == []


async def test_the_largest_value_is_taken(client: httpx.AsyncClient) -> None:
    response = await client.put("/secrets/TOKEN", json={"value": "x" * MOST_BYTES})

    assert response.status_code == 200


@pytest.mark.parametrize("name", ["a.b", "a b", "ü", "x" * 254])
async def test_a_name_is_one_of_a_resource(client: httpx.AsyncClient, name: str) -> None:
    response = await client.put(f"/secrets/{name}", json={"value": VALUE})

    assert response.status_code == 400
    assert response.json()["errors"][0]["loc"] == ["name"]
    assert "must consist of letters, digits, '_' and '-'" in response.json()["detail"]


async def test_one_that_there_is_not_cannot_be_deleted(client: httpx.AsyncClient) -> None:
    response = await client.delete("/secrets/TOKEN")

    assert response.status_code == 404
    assert response.json()["detail"] == "no secret named 'TOKEN'"


async def test_no_value_can_be_read(client: httpx.AsyncClient) -> None:
    await client.put("/secrets/TOKEN", json={"value": VALUE})

    assert (await client.get("/secrets/TOKEN")).status_code == 405
    assert (await client.get("/secret/")).status_code == 404


async def test_a_key_that_cannot_be_used_is_told_of(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWDAPT_SECRETS_KEY", "short")

    response = await client.put("/secrets/TOKEN", json={"value": VALUE})

    assert response.status_code == 500
    assert response.json()["detail"].startswith("the variable FLOWDAPT_SECRETS_KEY: what stands")


async def test_all_of_it_is_for_administrators(desk: Desk) -> None:
    assert {getattr(route, "role", None) for route in routes(desk.server)} == {"admin"}


async def test_the_routes_are_described(client: httpx.AsyncClient) -> None:
    paths = (await client.get("/openapi.json")).json()["paths"]

    assert paths["/secrets/{name}"].keys() == {"put", "delete"}
    assert paths["/secrets/{name}"]["put"]["summary"].startswith("Set a secret")
