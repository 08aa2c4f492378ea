"""Metrics over HTTP: what published clients read, and what scrapers do."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from flowdapt_metrics.routes import PIECE, wants_text

if TYPE_CHECKING:
    from flowdapt_metrics.service import MetricsService

    from flowdapt.server import Server

pytestmark = pytest.mark.anyio

#: What clients read: flowctl and the dashboard, each with the attributes that it picks out.
READ = [
    ("process.runtime.cpython.cpu_time", "type", {"user"}),
    ("process.runtime.cpython.memory", "type", {"rss"}),
    ("system.cpu.utilization", "state", {"user", "system"}),
    ("system.memory.utilization", "state", {"used", "cached"}),
    ("system.disk.operations", "direction", {"read", "write"}),
]
SECOND = 10**9


async def points(client: httpx.AsyncClient, name: str, **query: Any) -> list[dict[str, Any]]:
    response = await client.get("/metrics", params={"name": name, **query})
    assert response.status_code == 200, response.text
    found: list[dict[str, Any]] = response.json()[name]
    return found


def moment(time: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=time // SECOND)).isoformat()


@pytest.mark.parametrize(("name", "attribute", "values"), READ)
async def test_clients_find_the_numbers_that_they_read(
    client: httpx.AsyncClient, name: str, attribute: str, values: set[str]
) -> None:
    found = await points(client, name)

    assert {point["attributes"][attribute] for point in found} >= values
    for point in found:
        keys = {"attributes", "start_time_unix_nano", "time_unix_nano", "value"}
        assert point.keys() == keys
        assert isinstance(point["value"], int | float)


async def test_every_point_has_a_whole_number_as_its_start(
    client: httpx.AsyncClient, service: MetricsService
) -> None:
    metrics = (await client.get("/metrics")).json()

    starts = [point["start_time_unix_nano"] for found in metrics.values() for point in found]
    assert starts
    assert all(type(start) is int for start in starts)


async def test_the_latency_of_requests_is_a_histogram_also_before_the_first(
    client: httpx.AsyncClient, service: MetricsService
) -> None:
    await client.get("/nothing")
    service.sample(service.history.begun + SECOND)

    last, first = await points(client, "api_request_latency")

    assert (first["count"], first["sum"], first["min"], first["max"]) == (0, 0, 0, 0)
    assert last["count"] == sum(last["bucket_counts"]) == 1
    assert len(last["bucket_counts"]) == len(last["explicit_bounds"]) + 1
    assert last["min"] == last["max"] == last["sum"] > 0
    assert last["attributes"] == {}


async def test_requests_are_counted_by_the_class_of_their_status(
    client: httpx.AsyncClient, service: MetricsService
) -> None:
    for path in ("/", "/", "/nothing"):
        await client.get(path)
    service.sample(service.history.begun + SECOND)

    found = await points(client, "api_request_count")

    counts = {point["attributes"]["status"]: point["value"] for point in found}
    assert counts == {"2xx": 2, "4xx": 1}


async def test_runs_are_counted_without_a_series_for_each(
    client: httpx.AsyncClient, service: MetricsService, server: Server
) -> None:
    for name in ("well", "well", "failing"):
        await client.post(f"/workflows/{name}/run")
    service.sample(service.history.begun + SECOND)

    executed = await points(client, "workflows_executed")
    failed = await points(client, "workflows_failed")
    times = await points(client, "workflow_execution_time")

    assert {p["attributes"]["workflow.name"]: p["value"] for p in executed} == {
        "well": 2,
        "failing": 1,
    }
    assert [p["attributes"]["workflow.name"] for p in failed] == ["failing"]
    assert {p["attributes"]["workflow.name"]: p["count"] for p in times} == {
        "well": 2,
        "failing": 1,
    }
    keys = {"uid", "name", "executor", "namespace", "run.source"}
    assert executed[0]["attributes"].keys() == {f"workflow.{key}" for key in keys}
    assert executed[0]["attributes"]["workflow.run.source"] == "api"


async def test_points_come_newest_first_and_as_many_as_asked_for_over_all_attributes(
    client: httpx.AsyncClient, service: MetricsService
) -> None:
    begun = service.history.begun
    for n in (1, 2):
        service.sample(begun + n * SECOND)

    found = await points(client, "system.disk.operations", max_length=3)

    times = [point["time_unix_nano"] - begun for point in found]
    assert times == [2 * SECOND, 2 * SECOND, SECOND]
    assert len(await points(client, "system.disk.operations", max_length=0)) == 6


async def test_a_period_takes_in_both_of_its_ends(
    client: httpx.AsyncClient, service: MetricsService
) -> None:
    begin = service.history.begun // SECOND * SECOND + 10 * SECOND
    times = [begin + n * SECOND for n in range(4)]
    for time in times:
        service.sample(time)

    found = await points(
        client, "api_request_latency", start_time=moment(times[1]), end_time=moment(times[2])
    )
    naive = await points(client, "api_request_latency", start_time=moment(times[3])[:19])

    assert [point["time_unix_nano"] for point in found] == [times[2], times[1]]
    assert [point["time_unix_nano"] for point in naive] == [times[3]]


async def test_a_metric_that_is_not_there_has_no_points(client: httpx.AsyncClient) -> None:
    response = await client.get("/metrics", params={"name": 'no"such'})

    assert response.json() == {'no"such': []}


@pytest.mark.parametrize("version", ["v1alpha1", "v1"])
async def test_the_reply_names_its_schema(client: httpx.AsyncClient, version: str) -> None:
    response = await client.get("/metrics", headers={"X-API-Version": f"metrics.{version}"})

    assert response.headers["content-type"] == f"application/vnd.flowdapt.ai.metrics.{version}+json"
    assert response.headers["x-api-version"] == version


@pytest.mark.parametrize(
    ("query", "status"),
    [("start_time=soon", 422), ("max_length=many", 422), ("end_time=2031-13-01", 422)],
)
async def test_a_wrong_query_is_refused(client: httpx.AsyncClient, query: str, status: int) -> None:
    response = await client.get(f"/metrics?{query}")

    assert response.status_code == response.json()["status_code"] == status


async def test_old_points_are_gone(client: httpx.AsyncClient, service: MetricsService) -> None:
    kept = service.server.settings.telemetry.metrics_max_storage_time_s
    begun = service.history.begun
    service.sample(begun + SECOND)

    service.sample(begun + (kept + 1) * SECOND)

    found = await points(client, "api_request_latency")
    assert [point["time_unix_nano"] - begun for point in found] == [(kept + 1) * SECOND, SECOND]


async def test_others_have_their_turn_while_a_long_reply_is_made(
    client: httpx.AsyncClient, service: MetricsService
) -> None:
    pieces = 5
    for n in range(1, PIECE * pieces):
        service.history.sample([service.latency], service.history.begun + n * SECOND)
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async with asyncio.TaskGroup() as group:
        other = group.create_task(others())
        found = await points(client, "api_request_latency")
        other.cancel()

    assert len(found) == PIECE * pieces
    assert turns >= pieces - 1  # one between each two


# Scrapers ------------------------------------------------------------------------------------

PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)


@pytest.mark.parametrize(
    ("path", "accept"),
    [("/metrics/prometheus", "*/*"), ("/metrics", "text/plain"), ("/metrics", PROMETHEUS)],
)
async def test_scrapers_get_text_of_the_present(
    client: httpx.AsyncClient, path: str, accept: str
) -> None:
    await client.post("/workflows/well/run")

    response = await client.get(path, headers={"Accept": accept})

    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    lines = response.text.splitlines()
    assert "# TYPE flowdapt_workflows_executed_total counter" in lines
    assert 'workflow_name="well"' in response.text
    assert 'flowdapt_api_request_latency_milliseconds_bucket{le="+Inf"} 1.0' in lines
    assert any(
        line.startswith('process_runtime_cpython_memory_bytes{type="rss"} ') for line in lines
    )


@pytest.mark.parametrize(
    ("accept", "text"),
    [
        ("", False),
        ("*/*", False),
        ("application/json, text/plain, */*", False),  # what axios sends
        ("application/json;q=0.1, text/plain", True),
        ("text/plain;q=0", False),
        ("text/plain;q=much", False),
        ("application/vnd.flowdapt.ai.metrics.v1alpha1+json; q=1.0", False),
    ],
)
def test_text_is_for_those_who_want_nothing_more(accept: str, text: bool) -> None:
    assert wants_text(accept) is text


async def test_a_version_of_json_decides_over_what_else_is_accepted(
    client: httpx.AsyncClient,
) -> None:
    headers = {"X-API-Version": "metrics.v1alpha1", "Accept": "text/plain"}

    assert "api_request_latency" in (await client.get("/metrics", headers=headers)).json()
