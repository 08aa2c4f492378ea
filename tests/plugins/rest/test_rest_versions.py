"""Which version of a schema a client gets."""

from __future__ import annotations

import httpx
import pytest

pytestmark = pytest.mark.anyio

VENDOR = "application/vnd.flowdapt.ai"


async def test_a_reply_names_its_kind_and_version(client: httpx.AsyncClient) -> None:
    response = await client.get("/configs/")

    assert response.headers["content-type"] == f"{VENDOR}.config.v1alpha1+json"
    assert response.headers["x-api-version"] == "v1alpha1"


async def test_ping_and_drain_have_no_version(client: httpx.AsyncClient) -> None:
    ping, drain = await client.get("/"), await client.post("/drain")

    for response in (ping, drain):
        assert response.headers["content-type"] == "application/json"
        assert "x-api-version" not in response.headers


@pytest.mark.parametrize(
    ("header", "version"),
    [("config.v1alpha1", "v1alpha1"), ("config.v1", "v1"), ("config.v1, more", "v1")],
)
async def test_the_version_header_chooses(
    client: httpx.AsyncClient, header: str, version: str
) -> None:
    response = await client.get("/configs/", headers={"X-API-Version": header})

    assert response.headers["x-api-version"] == version
    assert response.headers["content-type"] == f"{VENDOR}.config.{version}+json"


async def test_the_version_header_decides_alone(client: httpx.AsyncClient) -> None:
    headers = {"X-API-Version": "config.v1alpha1", "Accept": f"{VENDOR}.config.v7+json, image/png"}

    response = await client.get("/configs/", headers=headers)

    assert response.status_code == 200
    assert response.headers["x-api-version"] == "v1alpha1"


@pytest.mark.parametrize("header", ["workflow.v1alpha1", "v1alpha1", "", "config", "config.", "x"])
async def test_a_version_header_of_another_form_or_kind_is_refused(
    client: httpx.AsyncClient, header: str
) -> None:
    response = await client.get("/configs/", headers={"X-API-Version": header})

    assert response.status_code == 400
    assert response.json()["detail"].startswith("Invalid API version header")


async def test_an_unknown_version_in_the_header_is_refused(client: httpx.AsyncClient) -> None:
    response = await client.get("/configs/", headers={"X-API-Version": "config.v9beta2"})

    assert response.status_code == 400
    assert response.json()["detail"].startswith("Unsupported API Versions requested: v9beta2")


@pytest.mark.parametrize(
    ("accept", "version"),
    [
        (f"{VENDOR}.config.v1+json", "v1"),
        (f"{VENDOR}.config.v1alpha1+json; q=0.3, {VENDOR}.config.v1+json;q=0.9", "v1"),
        (f"{VENDOR}.config.v1alpha1+json, {VENDOR}.config.v1+json;q=0.9", "v1alpha1"),
        (f"{VENDOR}.config.v9+json, {VENDOR}.config.v1+json;q=0.1", "v1"),
        (f"{VENDOR}.config.v1+json;q=0, {VENDOR}.config.v1alpha1+json;q=0.1", "v1alpha1"),
        (f"{VENDOR}.workflow.v1+json", "v1alpha1"),
        ("*/*", "v1alpha1"),
        ("application/json", "v1alpha1"),
        ("image/png", "v1alpha1"),
        ("application/octet-stream; q=1", "v1alpha1"),
        (";;,q=,/", "v1alpha1"),
    ],
)
async def test_without_the_header_the_media_types_of_the_kind_choose(
    client: httpx.AsyncClient, accept: str, version: str
) -> None:
    response = await client.get("/configs/", headers={"Accept": accept})

    assert response.status_code == 200
    assert response.headers["x-api-version"] == version


async def test_media_types_of_the_kind_in_unknown_versions_only_are_refused(
    client: httpx.AsyncClient,
) -> None:
    accept = f"{VENDOR}.config.v9+json, */*"

    response = await client.get("/configs/", headers={"Accept": accept})

    assert response.status_code == 400
    assert response.json()["detail"].startswith("Unsupported API Versions requested: v9")


async def test_a_client_without_accept_gets_the_published_version(
    client: httpx.AsyncClient,
) -> None:
    del client.headers["accept"]

    response = await client.get("/configs/")

    assert response.status_code == 200
    assert response.headers["x-api-version"] == "v1alpha1"


async def test_a_refused_version_starts_nothing(workflows: httpx.AsyncClient) -> None:
    headers = {"X-API-Version": "workflow.v1alpha1"}  # the route's kind is workflow_run

    response = await workflows.post("/workflows/echo/run", headers=headers)

    assert response.status_code == 400
    assert (await workflows.get("/workflows/echo/run")).json() == []
