"""The log of events, by pages."""

from __future__ import annotations

from uuid import uuid4

import httpx
import pytest

pytestmark = pytest.mark.anyio

STARTED = "com.event.workflow.workflow_started"
STAGE = "com.event.workflow.stage_changed"
FINISHED = "com.event.workflow.workflow_finished"
CREATED = "com.event.resource.created"


async def test_events_are_listed_in_order_with_their_positions(
    workflows: httpx.AsyncClient,
) -> None:
    run = (await workflows.post("/workflows/echo/run")).json()

    events = (await workflows.get("/events")).json()["events"]

    assert [event["type"] for event in events] == [*[CREATED] * 4, STARTED, STAGE, FINISHED]
    positions = [event["position"] for event in events]
    assert positions == sorted(set(positions))
    assert events[-1]["subject"] == f"workflow_run/{run['uid']}"
    assert events[-1]["data"]["state"] == "finished"


async def test_a_list_goes_on_where_the_last_one_ended(workflows: httpx.AsyncClient) -> None:
    page = (await workflows.get("/events?limit=3")).json()
    rest = (await workflows.get(f"/events?after={page['next']}")).json()

    assert [event["data"]["name"] for event in page["events"]] == ["echo", "waiting", "failing"]
    assert [event["data"]["name"] for event in rest["events"]] == ["large"]
    assert (await workflows.get(f"/events?after={rest['next']}")).json() == {
        "events": [],
        "next": rest["next"],
    }


async def test_the_newest_come_first_and_the_list_goes_on_with_what_was_before(
    workflows: httpx.AsyncClient,
) -> None:
    run = (await workflows.post("/workflows/echo/run")).json()

    newest = {"order": "newest", "limit": "3"}
    first = (await workflows.get("/events", params=newest)).json()
    second = (await workflows.get("/events", params=newest | {"after": first["next"]})).json()
    last = (await workflows.get("/events", params=newest | {"after": second["next"]})).json()
    none = (await workflows.get("/events", params=newest | {"after": last["next"]})).json()
    of_run = (await workflows.get(f"/workflows/run/{run['uid']}/events", params=newest)).json()

    assert [event["type"] for event in first["events"]] == [FINISHED, STAGE, STARTED]
    assert [event["position"] for event in second["events"]] == [4, 3, 2]
    assert [event["position"] for event in last["events"]] == [1]
    assert none == {"events": [], "next": last["next"]}
    assert of_run["events"] == first["events"]


async def test_events_are_chosen_by_run_workflow_type_and_channel(
    workflows: httpx.AsyncClient,
) -> None:
    first = (await workflows.post("/workflows/echo/run")).json()
    await workflows.post("/workflows/failing/run")

    async def types(query: str) -> list[str]:
        events = (await workflows.get(f"/events?{query}")).json()["events"]
        return [event["type"] for event in events]

    assert await types(f"run={first['name']}") == [STARTED, STAGE, FINISHED]
    assert await types("workflow=failing") == [STARTED, STAGE, FINISHED]
    assert await types(f"workflow=failing&type={STARTED}&type={FINISHED}") == [STARTED, FINISHED]
    assert await types("channel=resources") == [CREATED] * 4
    assert await types(f"run={uuid4()}") == []
    assert (await workflows.get("/events?run=nobody")).status_code == 404


async def test_what_a_run_was_given_is_not_told(workflows: httpx.AsyncClient) -> None:
    await workflows.post("/workflows/echo/run", json={"n": 1})

    events = (await workflows.get("/events?workflow=echo")).json()["events"]

    assert all(event["data"].keys().isdisjoint({"input", "config"}) for event in events)
    assert events[-1]["data"]["result"] == {"n": 1}


async def test_a_large_result_is_told_by_its_size(workflows: httpx.AsyncClient) -> None:
    await workflows.post("/workflows/large/run")

    event = (await workflows.get("/events?workflow=large")).json()["events"][-1]

    assert "result" not in event["data"]
    assert event["data"]["result_bytes"] == 100_002


@pytest.mark.parametrize("query", ["after=-1", "after=x", "limit=x", "order=x"])
async def test_a_wrong_query_is_refused(workflows: httpx.AsyncClient, query: str) -> None:
    assert (await workflows.get(f"/events?{query}")).status_code == 422
