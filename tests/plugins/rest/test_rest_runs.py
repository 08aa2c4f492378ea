"""Starting and finding runs."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

pytestmark = pytest.mark.anyio

V1 = {"X-API-Version": "workflow_run.v1"}


# Starting ------------------------------------------------------------------------------------


async def test_a_run_is_answered_when_it_has_ended(workflows: httpx.AsyncClient) -> None:
    run = (await workflows.post("/workflows/echo/run", json={"n": 3})).json()

    assert run["state"] == "finished"
    assert run["result"] == {"n": 3}
    assert run["workflow"] == "echo"
    assert run["source"] == "api"
    assert run["uid"] == str(UUID(run["uid"]))
    for key in ("started_at", "finished_at"):
        assert len(run[key]) == len("2031-04-05T06:07:08.123456")
    keys = {"uid", "name", "workflow", "source", "started_at", "finished_at", "state", "result"}
    assert run.keys() == keys


@pytest.mark.parametrize("value", ["false", "False", "0"])
async def test_without_waiting_it_is_answered_at_once(
    workflows: httpx.AsyncClient, stages: Any, value: str
) -> None:
    run = (await workflows.post(f"/workflows/waiting/run?wait={value}")).json()

    assert run["state"] in ("pending", "running")
    assert run.keys() == {"uid", "name", "workflow", "source", "started_at", "state"}
    stages.gate.set()


@pytest.mark.parametrize("value", ["true", "True", "1"])
async def test_waiting_is_spelled_in_every_language(
    workflows: httpx.AsyncClient, value: str
) -> None:
    run = (await workflows.post(f"/workflows/echo/run?wait={value}")).json()

    assert run["state"] == "finished"


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", None])
@pytest.mark.parametrize("content", [b"", b" \n"])
async def test_an_empty_body_is_an_empty_input(
    workflows: httpx.AsyncClient, content: bytes, content_type: str | None
) -> None:
    headers = {"Content-Type": content_type} if content_type else {}

    response = await workflows.post("/workflows/echo/run", content=content, headers=headers)

    assert response.json()["result"] == {}


@pytest.mark.parametrize("content", [b"[1]", b'"text"', b"7", b"null", b"{", b"some text"])
async def test_an_input_that_is_no_object_is_400_and_starts_nothing(
    workflows: httpx.AsyncClient, content: bytes
) -> None:
    response = await workflows.post("/workflows/echo/run", content=content)

    assert response.status_code == 400
    assert (await workflows.get("/workflows/echo/run")).json() == []


async def test_a_failing_stage_is_no_http_error(workflows: httpx.AsyncClient) -> None:
    response = await workflows.post("/workflows/failing/run")

    assert response.status_code == 200
    assert response.json()["state"] == "failed"
    assert response.json()["result"] == ["ZeroDivisionError", "no"]


async def test_an_unknown_workflow_is_404(client: httpx.AsyncClient) -> None:
    assert (await client.post("/workflows/nothing/run")).status_code == 404
    assert (await client.get("/workflows/nothing/run")).status_code == 404


async def test_a_run_by_uid_carries_the_workflows_name(workflows: httpx.AsyncClient) -> None:
    uid = (await workflows.get("/workflows/echo")).json()["metadata"]["uid"]

    run = (await workflows.post(f"/workflows/{uid}/run")).json()

    assert run["workflow"] == "echo"


async def test_the_namespace_is_the_clients_to_choose(workflows: httpx.AsyncClient) -> None:
    url = "/workflows/echo/run"

    chosen = (await workflows.post(f"{url}?namespace=orchard", headers=V1)).json()
    default = (await workflows.post(url, headers=V1)).json()

    assert chosen["namespace"] == "orchard"
    assert default["namespace"] == "default"


async def test_while_draining_runs_are_503_and_edits_work(workflows: httpx.AsyncClient) -> None:
    await workflows.post("/drain")

    refused = await workflows.post("/workflows/echo/run")

    assert refused.status_code == 503
    assert refused.json()["detail"] == "Service is draining, no new workflow runs accepted"
    assert (await workflows.get("/workflows/echo")).status_code == 200
    assert (await workflows.delete("/workflows/echo")).status_code == 200


async def test_while_draining_what_runs_goes_on(workflows: httpx.AsyncClient, stages: Any) -> None:
    waiting = asyncio.create_task(workflows.post("/workflows/waiting/run"))
    await stages.reached.wait()

    await workflows.post("/drain")
    stages.gate.set()

    assert (await waiting).json()["state"] == "finished"


# Finding -------------------------------------------------------------------------------------


async def test_a_run_is_found_by_uid_and_by_name(workflows: httpx.AsyncClient) -> None:
    run = (await workflows.post("/workflows/echo/run", json={"n": 1})).json()

    for identifier in (run["uid"], run["uid"].upper(), run["name"]):
        assert (await workflows.get(f"/workflows/run/{identifier}")).json() == run


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_an_unknown_run_is_404(client: httpx.AsyncClient, method: str) -> None:
    for name in ("amber-otter-1f3c9a02", str(uuid4())):
        response = await client.request(method, f"/workflows/run/{name}")
        assert response.status_code == 404


async def test_ten_runs_are_listed_newest_first(workflows: httpx.AsyncClient) -> None:
    for n in range(12):
        await workflows.post("/workflows/echo/run", json={"n": n})

    runs = (await workflows.get("/workflows/echo/run")).json()

    assert [run["result"]["n"] for run in runs] == list(range(11, 1, -1))


@pytest.mark.parametrize(("limit", "listed"), [("3", 3), ("0", 12), ("-1", 12), ("9" * 30, 12)])
async def test_the_limit_of_a_list_is_the_clients_and_below_1_there_is_none(
    workflows: httpx.AsyncClient, limit: str, listed: int
) -> None:
    for _ in range(12):
        await workflows.post("/workflows/echo/run")

    runs = (await workflows.get(f"/workflows/echo/run?limit={limit}")).json()

    assert len(runs) == listed


@pytest.mark.parametrize("query", ["limit=many", "limit=1.5", "limit=", "limit=" + "9" * 5000])
async def test_a_limit_that_is_no_number_is_422(workflows: httpx.AsyncClient, query: str) -> None:
    response = await workflows.get(f"/workflows/echo/run?{query}")

    assert response.status_code == 422
    assert response.json()["errors"][0]["loc"] == ["query", "limit"]


async def test_a_truth_value_that_is_none_is_422_and_starts_nothing(
    workflows: httpx.AsyncClient,
) -> None:
    response = await workflows.post("/workflows/echo/run?wait=perhaps")

    assert response.status_code == 422
    assert (await workflows.get("/workflows/echo/run")).json() == []


async def test_lists_leave_large_results_out_and_the_single_run_has_them(
    workflows: httpx.AsyncClient,
) -> None:
    run = (await workflows.post("/workflows/large/run")).json()

    listed = (await workflows.get("/workflows/large/run")).json()

    assert "result" not in listed[0]
    assert listed[0]["uid"] == run["uid"]
    assert len((await workflows.get(f"/workflows/run/{run['uid']}")).json()["result"]) == 100_000


async def test_runs_stay_when_their_workflow_is_deleted(workflows: httpx.AsyncClient) -> None:
    run = (await workflows.post("/workflows/echo/run")).json()

    await workflows.delete("/workflows/echo")

    assert (await workflows.get(f"/workflows/run/{run['name']}")).json() == run
    assert (await workflows.get("/workflows/echo/run")).status_code == 404


async def test_v1_tells_all_of_a_run(workflows: httpx.AsyncClient) -> None:
    made = (await workflows.post("/workflows/failing/run")).json()

    run = (await workflows.get(f"/workflows/run/{made['uid']}", headers=V1)).json()

    assert run["input"] == {}
    assert run["config"] == {}
    assert run["failure"]["stage"] == "only"
    assert "ZeroDivisionError" in run["failure"]["traceback"]
    assert run["result"] == made["result"]
    assert run["result_bytes"] == len(json.dumps(made["result"], separators=(",", ":")))
