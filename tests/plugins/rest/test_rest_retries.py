"""Elements that failed, and runs that are started again."""

from __future__ import annotations

from array import array
from typing import Any
from uuid import UUID

import httpx
import pytest
from flowdapt_workers.tallies import Tally

from flowdapt.server import Server

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


async def require(client: httpx.AsyncClient, fraction: float) -> None:
    """Have the workflow `picky` fail unless so many of its elements succeed."""
    workflow = (await client.get("/workflows/picky")).json()
    workflow["spec"]["stages"][0]["options"]["min_success"] = fraction
    assert (await client.put("/workflows/picky", json=workflow)).status_code == 200


async def keep(server: Server, run: str, **facts: Any) -> None:
    """Store more about the stage `each` of a run, as an executor may have it."""
    storage = server.engine.storage
    (record,) = [r for r in await storage.list_stages(UUID(run)) if r.stage == "each"]
    await storage.save_stage(UUID(run), record.model_copy(update=facts))


async def test_failed_elements_are_listed_with_what_they_raised(mapped: httpx.AsyncClient) -> None:
    run = await run_of(mapped, [2, 3, 4, 5])

    page = (await mapped.get(f"/workflows/run/{run['uid']}/items?state=failed")).json()

    assert page["next"] is None
    assert [(item["stage"], item["item"]) for item in page["items"]] == [("each", 1), ("each", 3)]
    assert page["items"][0]["type"] == "ValueError"
    assert page["items"][0]["message"] == "3 is odd"
    assert "in picky" in page["items"][0]["traceback"]


async def test_all_elements_are_listed_with_what_became_of_them(mapped: httpx.AsyncClient) -> None:
    run = await run_of(mapped, [2, 3, 4])

    page = (await mapped.get(f"/workflows/run/{run['uid']}/items")).json()

    assert [(i["item"], i["state"], i["attempts"]) for i in page["items"]] == [
        (0, "finished", 1),
        (1, "failed", 1),
        (2, "finished", 1),
    ]
    assert all(0 <= item["seconds"] < 60 for item in page["items"])
    assert ["message" in item for item in page["items"]] == [False, True, False]


async def test_elements_of_a_state_or_a_stage_are_listed(mapped: httpx.AsyncClient) -> None:
    run = await run_of(mapped, [2, 3, 4])
    url = f"/workflows/run/{run['uid']}/items"

    async def listed(query: str) -> list[int]:
        return [item["item"] for item in (await mapped.get(f"{url}?{query}")).json()["items"]]

    assert await listed("state=finished") == [0, 2]
    assert await listed("state=failed") == [1]
    assert await listed("state=failed,finished") == [0, 1, 2]
    assert await listed("stage=each") == [0, 1, 2]
    assert await listed("stage=sum") == []
    assert (await mapped.get(f"{url}?state=lost")).status_code == 422
    assert (await mapped.get(f"{url}?order=fastest")).status_code == 422


async def test_the_slowest_elements_are_listed_first_part_by_part(
    mapped: httpx.AsyncClient, server: Server
) -> None:
    run = await run_of(mapped, [2, 4, 6, 8])
    tally = Tally()
    tally.note(range(3), array("f", [0.5, 2.0, 0.25]).tobytes())
    tally.note([3], attempts=3)  # lost with its worker
    await keep(server, run["uid"], elements=tally.pack())
    url = f"/workflows/run/{run['uid']}/items"

    first = (await mapped.get(f"{url}?order=slowest&limit=2")).json()
    second = (await mapped.get(f"{url}?order=slowest&limit=2&after={first['next']}")).json()

    items = [*first["items"], *second["items"]]
    assert [(item["item"], item["seconds"]) for item in items] == [
        (1, 2.0),
        (0, 0.5),
        (2, 0.25),
        (3, None),
    ]
    assert (items[3]["attempts"], second["next"]) == (3, None)


async def test_elements_are_summed_up_by_stage(mapped: httpx.AsyncClient, server: Server) -> None:
    run = await run_of(mapped, [2, 3, 4])
    tally = Tally()
    tally.note(range(100), array("f", range(1, 101)).tobytes())
    await keep(server, run["uid"], elements=tally.pack(), items=100, items_done=100)

    (summary,) = (await mapped.get(f"/workflows/run/{run['name']}/items/summary")).json()

    assert summary == {
        "stage": "each",
        "state": "finished",
        "count": 100,
        "done": 100,
        "failed": 1,
        "seconds": {"least": 1.0, "median": 50.5, "p95": 95.0, "most": 100.0},
    }


async def test_of_a_run_of_an_earlier_release_failed_elements_are_listed(
    mapped: httpx.AsyncClient, server: Server
) -> None:
    run = await run_of(mapped, [2, 3, 4])
    await keep(server, run["uid"], elements=None)

    (item,) = (await mapped.get(f"/workflows/run/{run['uid']}/items")).json()["items"]
    (summary,) = (await mapped.get(f"/workflows/run/{run['uid']}/items/summary")).json()

    assert (item["item"], item["state"], item["seconds"]) == (1, "failed", None)
    assert (summary["count"], summary["failed"], summary["seconds"]) == (3, 1, None)


async def test_a_page_of_very_many_elements_is_a_page(
    mapped: httpx.AsyncClient, server: Server
) -> None:
    run = await run_of(mapped, [2])
    tally = Tally()
    tally.note(range(100_000), array("f", [0.001]).tobytes() * 100_000)
    await keep(server, run["uid"], elements=tally.pack(), items=100_000)
    url = f"/workflows/run/{run['uid']}/items"

    page = (await mapped.get(f"{url}?after=99990&limit=5")).json()
    stages = await mapped.get(f"/workflows/run/{run['uid']}/stages")

    assert [item["item"] for item in page["items"]] == list(range(99_990, 99_995))
    assert page["next"] == 99_995
    assert len(stages.content) < 5000


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


async def test_elements_are_computed_again_of_which_too_many_failed(
    mapped: httpx.AsyncClient,
) -> None:
    await require(mapped, 0.9)
    first = await run_of(mapped, [2, 3, 4, 5])
    assert first["failure"]["type"] == "TooManyFailed"
    await require(mapped, 0)

    items = (await mapped.get(f"/workflows/run/{first['uid']}/items?state=failed")).json()["items"]
    again = await mapped.post(f"/workflows/run/{first['uid']}/retry?items=failed", headers=V1)

    assert [(item["item"], item["message"]) for item in items] == [(1, "3 is odd"), (3, "5 is odd")]
    assert again.json()["state"] == "finished"
    stages = (await mapped.get(f"/workflows/run/{again.json()['uid']}/stages")).json()
    assert [record["items"] for record in stages if record["stage"] == "each"] == [2]


async def test_a_stage_that_did_not_come_to_all_of_its_elements_is_computed_whole(
    mapped: httpx.AsyncClient, server: Server
) -> None:
    first = await run_of(mapped, [2, 3, 4])
    await keep(server, first["uid"], state="failed", items=5)

    response = await mapped.post(f"/workflows/run/{first['uid']}/retry?items=failed")

    assert response.status_code == 409
    assert "retry the whole run" in response.json()["detail"]


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
