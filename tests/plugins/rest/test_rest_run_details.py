"""What a run consists of: how its stages stand, and what they handed on."""

from __future__ import annotations

import asyncio
import os
from typing import Any
from uuid import UUID

import httpx
import pytest
from flowdapt_rest.histories import history
from flowdapt_workers import payloads

from flowdapt.runs import Run, RunState, StageRecord
from flowdapt.server import Server
from tests.plugins.rest.callers import bearer
from tests.plugins.rest.conftest import Stages

pytestmark = pytest.mark.anyio

V1 = {"X-API-Version": "workflow_run.v1"}


async def ran(client: httpx.AsyncClient, name: str = "echo") -> dict[str, Any]:
    found: dict[str, Any] = (await client.post(f"/workflows/{name}/run", headers=V1)).json()
    return found


async def keep(server: Server, run: str, **facts: Any) -> None:
    """Store a stage of a run as an executor with processes would have it."""
    (record,) = await server.engine.storage.list_stages(UUID(run))
    await server.engine.storage.save_stage(UUID(run), record.model_copy(update=facts))


async def test_a_stored_result_is_handed_out_as_it_was_pickled(
    workflows: httpx.AsyncClient, server: Server
) -> None:
    run = await ran(workflows)
    await keep(server, run["uid"], result=payloads.pack(payloads.dump({"n": 1})))

    answer = await workflows.get(f"/workflows/run/{run['name']}/stages/only/result")

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/octet-stream"
    assert payloads.load(answer.content) == {"n": 1}


async def test_a_result_that_is_not_stored_is_not_found(workflows: httpx.AsyncClient) -> None:
    run = await ran(workflows)

    answer = await workflows.get(f"/workflows/run/{run['name']}/stages/only/result")

    assert answer.status_code == 404
    assert "there is no stored result of stage 'only'" in answer.json()["detail"]


async def test_a_name_of_a_stage_may_have_slashes(
    workflows: httpx.AsyncClient, server: Server
) -> None:
    run = await ran(workflows)
    await keep(server, run["uid"], stage="a/result/b", result=b"x")

    answer = await workflows.get(f"/workflows/run/{run['uid']}/stages/a%2Fresult%2Fb/result")

    assert answer.content == b"x"


async def test_results_are_for_who_may_operate(
    workflows: httpx.AsyncClient, server: Server, texts: dict[str, str]
) -> None:
    run = await ran(workflows)
    await keep(server, run["uid"], result=b"x")
    where = f"/workflows/run/{run['uid']}/stages/only/result"

    seen = [await workflows.get(where, headers=bearer(text)) for text in texts.values()]

    assert [answer.status_code for answer in seen] == [403, 200, 200]


async def test_the_history_of_a_run_is_in_the_order_of_time(workflows: httpx.AsyncClient) -> None:
    run = await ran(workflows)

    history = (await workflows.get(f"/workflows/run/{run['name']}/history")).json()

    happened = [(one["stage"], one["state"], one["attempt"]) for one in history["transitions"]]
    assert happened == [
        (None, "running", None),
        ("only", "ready", None),
        ("only", "running", 1),
        ("only", "finished", 1),
        (None, "finished", None),
    ]
    times = [one["at"] for one in history["transitions"]]
    assert times == sorted(times)
    assert history["transitions"][2]["worker"] == f"process {os.getpid()}"
    assert history["transitions"][2]["node"] == os.uname().nodename


def test_a_run_that_is_yet_to_begin_does_not_run() -> None:
    told = history(Run(workflow="w", state=RunState.PENDING), [])

    assert [one["state"] for one in told["transitions"]] == ["pending"]


async def test_a_run_that_waited_in_a_queue_was_pending_and_then_running(
    client: httpx.AsyncClient, server: Server, stages: Stages
) -> None:
    spec = {
        "stages": [{"name": "only", "target": "rest_stages.waiting"}],
        "options": {"concurrency": "queue"},
    }
    await client.post("/workflows/", json={"metadata": {"name": "line"}, "spec": spec})
    await client.post("/workflows/line/run?wait=false")
    await stages.reached.wait()
    second = await client.post("/workflows/line/run?wait=false", headers=V1)
    run = f"/workflows/run/{second.json()['uid']}"

    before = (await client.get(f"{run}/history")).json()["transitions"]
    stages.gate.set()
    await asyncio.wait_for(server.engine.wait(UUID(second.json()["uid"])), 30)
    after = (await client.get(f"{run}/history")).json()["transitions"]

    assert [one["state"] for one in before] == ["pending"]
    states = [(one["stage"], one["state"]) for one in after if one["state"] != "ready"]
    assert states[:2] == [(None, "pending"), (None, "running")]
    assert states[-1] == (None, "finished")
    assert after == sorted(after, key=lambda one: one["at"])


async def test_a_history_has_every_attempt_and_where_it_was(
    workflows: httpx.AsyncClient, server: Server
) -> None:
    run = await ran(workflows)
    tries = [{"attempt": n, "at": run["started_at"], "worker": f"w{n}"} for n in (1, 2)]
    await keep(server, run["uid"], history=tries, attempts=2)

    history = (await workflows.get(f"/workflows/run/{run['name']}/history")).json()

    begun = [one for one in history["transitions"] if one["worker"]]
    assert [(one["attempt"], one["worker"]) for one in begun] == [(1, "w1"), (2, "w2"), (2, "w2")]


async def test_what_stages_used_is_summed_and_of_peaks_the_highest_counts(
    workflows: httpx.AsyncClient, server: Server
) -> None:
    run = await ran(workflows)
    (first,) = await server.engine.storage.list_stages(UUID(run["uid"]))
    peaks = {first.stage: 5, "two": 7, "three": 6}
    for name, peak in peaks.items():
        facts: Any = {"used": {"peak_memory_bytes": peak, "energy_joules": 1.5}, "result_bytes": 3}
        record = StageRecord(stage=name, cpu_seconds=0.5, **facts)
        await server.engine.storage.save_stage(UUID(run["uid"]), record)

    history = (await workflows.get(f"/workflows/run/{run['name']}/history")).json()

    assert history["used"] == {
        "cpu_seconds": 1.5,
        "peak_memory_bytes": 7,
        "energy_joules": 4.5,
        "result_bytes": 9,
    }


async def test_the_workflow_is_as_the_run_began_with_it(workflows: httpx.AsyncClient) -> None:
    run = await ran(workflows)
    workflow = (await workflows.get("/workflows/echo")).json()
    before = workflow["spec"]["stages"][0]["target"]
    workflow["spec"]["stages"][0]["target"] = "rest_stages.total"
    assert (await workflows.put("/workflows/echo", json=workflow)).status_code == 200

    answer = await workflows.get(f"/workflows/run/{run['name']}/definition")

    assert answer.status_code == 200
    assert answer.json()["metadata"]["name"] == "echo"
    assert answer.json()["spec"]["stages"][0]["target"] == before


async def test_a_workflow_that_was_not_kept_is_not_found(
    workflows: httpx.AsyncClient, server: Server
) -> None:
    run = await ran(workflows)
    await server.engine.storage.delete_blobs("definition/")

    answer = await workflows.get(f"/workflows/run/{run['name']}/definition")

    assert answer.status_code == 404
