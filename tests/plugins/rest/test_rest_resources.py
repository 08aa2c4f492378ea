"""Routes over resources: workflows, configs, and whatever plugins add."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import httpx
import pytest

pytestmark = pytest.mark.anyio


def config(name: str = "params", **spec: Any) -> dict[str, Any]:
    return {"kind": "config", "metadata": {"name": name}, "spec": {"data": {}, **spec}}


def workflow(name: str = "harvest", **stage: Any) -> dict[str, Any]:
    stages = [{"name": "pick", "target": "rest_stages.echo", **stage}]
    return {"metadata": {"name": name}, "spec": {"stages": stages}}


# What a resource looks like ------------------------------------------------------------------


async def test_a_created_workflow_comes_back_with_all_its_fields(
    client: httpx.AsyncClient,
) -> None:
    response = await client.post("/workflows/", json=workflow())

    body = response.json()
    assert response.status_code == 200
    assert body.keys() == {"kind", "metadata", "spec"}
    assert body["kind"] == "workflow"
    keys = {"uid", "name", "created_at", "updated_at", "annotations"}
    assert body["metadata"].keys() == keys
    assert body["metadata"]["annotations"] == {}
    assert body["spec"]["stages"] == [
        {
            "name": "pick",
            "target": "rest_stages.echo",
            "type": "simple",
            "description": "",
            "version": "",
            "depends_on": [],
            "options": {},
            "resources": {},
            "priority": None,
        }
    ]


async def test_uids_are_dashed_and_times_are_naive_with_microseconds(
    client: httpx.AsyncClient,
) -> None:
    created = (await client.post("/configs/", json=config())).json()

    metadata = created["metadata"]
    assert metadata["uid"] == str(UUID(metadata["uid"]))
    for key in ("created_at", "updated_at"):
        date, _, fraction = metadata[key].partition(".")
        assert len(date) == len("2031-04-05T06:07:08")
        assert len(fraction) == 6
        assert fraction.isdigit()


async def test_a_config_without_selector_has_one_that_selects_nothing(
    client: httpx.AsyncClient,
) -> None:
    created = (await client.post("/configs/", json=config(selector=None))).json()

    assert created["spec"]["selector"] == {"kind": None, "type": "name", "value": None}


async def test_only_v1_shows_generations(client: httpx.AsyncClient) -> None:
    await client.post("/configs/", json=config())
    await client.put("/configs/params", json=config())

    headers = {"X-API-Version": "config.v1"}
    assert (await client.get("/configs/params", headers=headers)).json()["metadata"][
        "generation"
    ] == 2
    assert "generation" not in (await client.get("/configs/params")).json()["metadata"]


async def test_a_plugins_kind_has_the_same_routes(client: httpx.AsyncClient) -> None:
    garden = {"metadata": {"name": "eden"}, "spec": {"trees": 2}}

    created = await client.post("/gardens/", json=garden)

    vendor = "application/vnd.flowdapt.ai.garden.v1alpha1+json"
    assert created.headers["content-type"] == vendor
    assert (await client.get("/gardens/eden")).json() == created.json()
    assert (await client.get("/gardens/")).json() == [created.json()]
    assert (await client.put("/gardens/eden", json=garden)).status_code == 200
    assert (await client.delete("/gardens/eden")).status_code == 200


# Finding -------------------------------------------------------------------------------------


async def test_lists_are_in_the_order_of_creation(client: httpx.AsyncClient) -> None:
    for name in ("c", "a", "b"):
        await client.post("/configs/", json=config(name))

    listed = (await client.get("/configs/")).json()

    assert [one["metadata"]["name"] for one in listed] == ["c", "a", "b"]


async def test_a_resource_is_found_by_name_and_by_uid_in_any_form(
    client: httpx.AsyncClient,
) -> None:
    uid = (await client.post("/configs/", json=config())).json()["metadata"]["uid"]

    for identifier in ("params", uid, uid.upper(), uid.replace("-", "")):
        response = await client.get(f"/configs/{identifier}")
        assert response.json()["metadata"]["uid"] == uid


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
@pytest.mark.parametrize("name", ["nothing", "5d0c1c52-7a0e-4a36-9b7b-0a2f0b8f6c11"])
async def test_a_missing_resource_is_404_whatever_is_wanted(
    client: httpx.AsyncClient, method: str, name: str
) -> None:
    body = config() if method == "PUT" else None

    response = await client.request(method, f"/configs/{name}", json=body)

    assert response.status_code == 404
    assert response.json()["detail"] == f"no config named '{name}'"


async def test_names_are_unique_per_kind_only(client: httpx.AsyncClient) -> None:
    first = await client.post("/configs/", json=config("same"))
    second = await client.post("/workflows/", json=workflow("same"))

    assert (first.status_code, second.status_code) == (200, 200)


async def test_a_workflow_may_be_called_run(client: httpx.AsyncClient) -> None:
    await client.post("/workflows/", json=workflow("run"))

    assert (await client.get("/workflows/run")).json()["metadata"]["name"] == "run"
    assert (await client.post("/workflows/run/run")).json()["workflow"] == "run"
    assert len((await client.get("/workflows/run/run")).json()) == 1


@pytest.mark.parametrize("path", ["/workflows", "/configs", "/gardens"])
async def test_a_collection_without_its_slash_is_redirected(
    client: httpx.AsyncClient, path: str
) -> None:
    response = await client.get(f"{path}?a=b")

    assert response.status_code == 307
    assert response.headers["location"].endswith(f"{path}/?a=b")


async def test_head_is_get_without_the_body(client: httpx.AsyncClient) -> None:
    assert (await client.head("/configs/")).status_code == 200
