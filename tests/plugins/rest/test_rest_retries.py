"""Elements that failed, and runs that are started again."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.anyio

V1 = {"X-API-Version": "workflow_run.v1"}


@pytest.fixture
async def mapped(workflows: httpx.AsyncClient) -> httpx.AsyncClient:
    """A client, and a workflow `picky` whose odd elements fail and are left out."""
    stages = [
        {
            "name": "each",
            "target": "rest_stages.picky",
            "type": "parameterized",
            "options": {"map_on": "numbers", "allow_partial_failure": True},
        },
        {"name": "sum", "target": "rest_stages.total", "depends_on": ["each"]},
    ]
    workflow = {"metadata": {"name": "picky"}, "spec": {"stages": stages}}
    assert (await workflows.post("/workflows/", json=workflow)).status_code == 200
    return workflows


async def run_of(client: httpx.AsyncClient, numbers: list[int]) -> dict[str, Any]:
    response = await client.post("/workflows/picky/run", json={"numbers": numbers}, headers=V1)
    found: dict[str, Any] = response.json()
    return found


async def test_failed_elements_are_listed_with_what_they_raised(mapped: httpx.AsyncClient) -> None:
    run = await run_of(mapped, [2, 3, 4, 5])

    page = (await mapped.get(f"/workflows/run/{run['uid']}/items?state=failed")).json()

    assert page["next"] is None
    assert [(item["stage"], item["item"]) for item in page["items"]] == [("each", 1), ("each", 3)]
    assert page["items"][0]["type"] == "ValueError"
    assert page["items"][0]["message"] == "3 is odd"
    assert "in picky" in page["items"][0]["traceback"]


async def test_failed_elements_are_listed_part_by_part(mapped: httpx.AsyncClient) -> None:
    run = await run_of(mapped, [1, 3, 5])
    url = f"/workflows/run/{run['uid']}/items"

    first = (await mapped.get(f"{url}?limit=2")).json()
    second = (await mapped.get(f"{url}?limit=2&after={first['next']}")).json()

    assert [item["item"] for item in (*first["items"], *second["items"])] == [0, 1, 2]
    assert second["next"] is None


async def test_a_retry_of_failed_elements_computes_them_and_what_depends_on_them(
    mapped: httpx.AsyncClient, stages: Any
) -> None:
    first = await run_of(mapped, [2, 3, 4, 5])
    assert first["result"] == 6
    stages.mended = True

    url = f"/workflows/run/{first['uid']}/retry?items=failed"
    second = (await mapped.post(url)).json()

    assert (second["state"], second["result"]) == ("finished", 8)
    assert second["retry_of"] == first["uid"]
    records = (await mapped.get(f"/workflows/run/{second['uid']}/stages")).json()
    assert [record["items"] for record in records] == [2, None]


async def test_a_retry_of_a_whole_run_has_the_same_input(
    workflows: httpx.AsyncClient,
) -> None:
    first = (await workflows.post("/workflows/echo/run", json={"n": 1}, headers=V1)).json()

    second = (await workflows.post(f"/workflows/run/{first['name']}/retry")).json()

    assert (second["state"], second["result"]) == ("finished", {"n": 1})
    assert (second["retry_of"], second["input"]) == (first["uid"], {"n": 1})
    assert first["retry_of"] is None


async def test_a_retry_need_not_be_waited_for(workflows: httpx.AsyncClient, stages: Any) -> None:
    stages.gate.set()
    first = (await workflows.post("/workflows/waiting/run")).json()
    stages.gate.clear()

    second = (await workflows.post(f"/workflows/run/{first['uid']}/retry?wait=false")).json()

    assert second["state"] == "running"
    stages.gate.set()


async def test_a_run_in_progress_is_not_retried(workflows: httpx.AsyncClient, stages: Any) -> None:
    run = (await workflows.post("/workflows/waiting/run?wait=false")).json()

    response = await workflows.post(f"/workflows/run/{run['uid']}/retry")

    assert response.status_code == 409
    assert run["name"] in response.json()["detail"]
    stages.gate.set()


async def test_where_no_element_failed_there_is_nothing_to_retry(
    mapped: httpx.AsyncClient,
) -> None:
    run = await run_of(mapped, [2, 4])

    response = await mapped.post(f"/workflows/run/{run['uid']}/retry?items=failed")

    assert response.status_code == 409
    assert "retry the whole run" in response.json()["detail"]


async def test_a_run_whose_workflow_is_gone_is_not_retried(workflows: httpx.AsyncClient) -> None:
    run = (await workflows.post("/workflows/echo/run")).json()
    await workflows.delete("/workflows/echo")

    assert (await workflows.post(f"/workflows/run/{run['uid']}/retry")).status_code == 404
