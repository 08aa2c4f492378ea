"""Lists of runs: chosen, ordered, and read part by part."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import httpx
import pytest

pytestmark = pytest.mark.anyio

V1 = {"X-API-Version": "workflow_run.v1"}


@pytest.fixture
async def runs(workflows: httpx.AsyncClient) -> list[dict[str, Any]]:
    """Five runs, in the order in which they were accepted."""
    names = ("echo", "failing", "echo", "echo", "failing")
    return [(await workflows.post(f"/workflows/{name}/run")).json() for name in names]


async def uids(client: httpx.AsyncClient, query: str = "") -> list[str]:
    response = await client.get(f"/runs/?{query}")
    return [run["uid"] for run in response.json()["runs"]]


async def test_runs_of_all_workflows_are_listed_newest_first(
    workflows: httpx.AsyncClient, runs: list[dict[str, Any]]
) -> None:
    wanted = [run["uid"] for run in reversed(runs)]

    assert await uids(workflows) == wanted
    assert await uids(workflows, "order=newest") == wanted
    assert await uids(workflows, "order=oldest") == wanted[::-1]


async def test_runs_are_chosen_by_workflow_and_state(
    workflows: httpx.AsyncClient, runs: list[dict[str, Any]]
) -> None:
    failing = [run["uid"] for run in reversed(runs) if run["state"] == "failed"]

    assert await uids(workflows, "workflow=failing") == failing
    assert await uids(workflows, "state=failed") == failing
    assert len(await uids(workflows, "state=failed,finished")) == 5
    assert len(await uids(workflows, "state=failed&state=finished")) == 5
    assert await uids(workflows, "state=running") == []
    assert await uids(workflows, "workflow=echo&state=failed") == []


async def test_runs_are_chosen_by_the_time_of_their_acceptance(
    workflows: httpx.AsyncClient, runs: list[dict[str, Any]]
) -> None:
    since, until = runs[1]["started_at"], runs[3]["started_at"]

    found = await uids(workflows, f"since={since}&until={until}&order=oldest")

    assert found == [runs[1]["uid"], runs[2]["uid"]]


@pytest.mark.parametrize("order", ["newest", "oldest"])
async def test_a_list_is_read_part_by_part(
    workflows: httpx.AsyncClient, runs: list[dict[str, Any]], order: str
) -> None:
    found, query = [], f"order={order}&limit=2"
    page = (await workflows.get(f"/runs/?{query}")).json()
    while True:
        assert len(page["runs"]) <= 2
        found += [run["uid"] for run in page["runs"]]
        if page["next"] is None:
            break
        page = (await workflows.get(f"/runs/?{query}&cursor={page['next']}")).json()

    assert found == await uids(workflows, f"order={order}")
    assert len(found) == len(runs)


async def test_a_part_that_ends_with_the_list_is_the_last(
    workflows: httpx.AsyncClient, runs: list[dict[str, Any]]
) -> None:
    assert (await workflows.get(f"/runs/?limit={len(runs)}")).json()["next"] is None


async def test_a_workflow_s_runs_come_in_parts_in_v1_and_as_a_list_before(
    workflows: httpx.AsyncClient, runs: list[dict[str, Any]]
) -> None:
    page = (await workflows.get("/workflows/echo/run?limit=2", headers=V1)).json()
    plain = (await workflows.get("/workflows/echo/run?limit=2")).json()

    assert [run["uid"] for run in page["runs"]] == [run["uid"] for run in plain]
    assert page["next"] == plain[-1]["uid"]
    assert len((await workflows.get("/workflows/echo/run?limit=0")).json()) == 3
    assert len((await workflows.get("/workflows/echo/run?limit=0", headers=V1)).json()["runs"]) == 3


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("state=done", "'finished'"),
        ("since=yesterday", "a time"),
        ("order=random", "'newest' or 'oldest'"),
        ("cursor=3", "a uid"),
        ("limit=many", "a whole number"),
    ],
)
async def test_a_wrong_query_is_refused_with_what_is_right(
    workflows: httpx.AsyncClient, query: str, named: str
) -> None:
    response = await workflows.get(f"/runs/?{query}")

    assert response.status_code == 422
    assert named in response.json()["detail"]


async def test_a_cursor_that_is_no_run_is_not_found(workflows: httpx.AsyncClient) -> None:
    assert (await workflows.get(f"/runs/?cursor={uuid4()}")).status_code == 404
