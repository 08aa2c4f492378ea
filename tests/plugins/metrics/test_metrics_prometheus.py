"""Text for Prometheus, read by its own parser, and how little of it there is."""

from __future__ import annotations

import re
from collections import Counter as Counts
from typing import TYPE_CHECKING
from uuid import uuid4

import httpx
import pytest
from flowdapt_metrics.instruments import MOST_SETS
from prometheus_client.parser import text_string_to_metric_families

from flowdapt.events import RUN_FINISHED, Event
from flowdapt.runs import Run, RunState
from flowdapt.storage import StoredRun

if TYPE_CHECKING:
    from flowdapt_metrics.service import MetricsService
    from prometheus_client import Metric

    from flowdapt.server import Server

pytestmark = pytest.mark.anyio

SECOND = 10**9


async def scraped(client: httpx.AsyncClient) -> dict[str, Metric]:
    """Return what a scraper reads, by name."""
    text = (await client.get("/metrics/prometheus")).raise_for_status().text
    families = [*text_string_to_metric_families(text)]
    assert len(families) == text.count("# TYPE ") == text.count("# HELP ")
    found = {family.name: family for family in families}
    assert len(found) == len(families)
    return found


def end_runs(server: Server, count: int) -> None:
    """Tell of so many runs that ended, no two of which have anything in common."""
    for n in range(count):
        state = (RunState.FINISHED, RunState.FAILED)[n % 2]
        begun = Run(
            workflow=f"workflow-{n}",
            workflow_uid=uuid4(),
            namespace=f'namespace-{n} "\\\n',
            source=f"source-{n}",
        ).to(RunState.RUNNING)
        server.engine.events.publish(Event(type=RUN_FINISHED, data=StoredRun(begun.to(state))))


async def test_everything_is_read_by_the_parser_of_prometheus_as_what_it_is(
    client: httpx.AsyncClient, service: MetricsService
) -> None:
    for name in ("well", "failing"):
        await client.post(f"/workflows/{name}/run")

    found = await scraped(client)

    assert len(found) == len({instrument.name for instrument in service.instruments})
    assert found["flowdapt_workflows_executed"].type == "counter"
    assert found["process_runtime_cpython_memory_bytes"].type == "gauge"
    assert found["flowdapt_workflow_execution_time_milliseconds"].type == "histogram"
    for family in found.values():
        assert family.documentation
        assert family.type in ("counter", "gauge", "histogram")
        assert re.fullmatch(r"[a-z][a-z0-9_]*", family.name)


async def test_no_sample_comes_twice(client: httpx.AsyncClient, server: Server) -> None:
    end_runs(server, 100)

    samples = Counts(
        (sample.name, *sorted(sample.labels.items()))
        for family in (await scraped(client)).values()
        for sample in family.samples
    )

    assert {*samples.values()} == {1}


async def test_buckets_hold_what_is_below_them_and_the_last_holds_all(
    client: httpx.AsyncClient,
) -> None:
    for _ in range(5):
        await client.get("/")

    family = (await scraped(client))["flowdapt_api_request_latency_milliseconds"]

    buckets = {
        float(sample.labels["le"]): sample.value
        for sample in family.samples
        if sample.name.endswith("_bucket")
    }
    (count,) = [sample.value for sample in family.samples if sample.name.endswith("_count")]
    (total,) = [sample.value for sample in family.samples if sample.name.endswith("_sum")]
    assert [*buckets] == sorted(buckets)
    assert [*buckets.values()] == sorted(buckets.values())
    assert buckets[float("inf")] == count == 5
    assert total > 0


async def test_names_that_users_choose_are_read_as_they_were_written(
    client: httpx.AsyncClient, server: Server
) -> None:
    end_runs(server, 1)

    family = (await scraped(client))["flowdapt_workflows_executed"]

    (sample,) = family.samples
    assert sample.labels["workflow_namespace"] == 'namespace-0 "\\\n'


async def test_thousands_of_runs_workflows_and_namespaces_add_up_in_a_few_series(
    client: httpx.AsyncClient, server: Server, service: MetricsService
) -> None:
    end_runs(server, 4 * MOST_SETS)
    await scraped(client)  # which is counted as a request itself
    before = await scraped(client)
    series = {name: len(family.samples) for name, family in before.items()}
    end_runs(server, 5_000)

    after = await scraped(client)

    assert {name: len(family.samples) for name, family in after.items()} == series
    executed = [sample.value for sample in after["flowdapt_workflows_executed"].samples]
    failed = [sample.value for sample in after["flowdapt_workflows_failed"].samples]
    assert len(executed) == MOST_SETS + 1
    assert sum(executed) == 5_000 + 4 * MOST_SETS
    assert sum(failed) == sum(executed) / 2
    service.sample(service.history.begun + SECOND)
    points = (await client.get("/metrics", params={"name": "workflows_executed"})).json()
    assert len(points["workflows_executed"]) == MOST_SETS + 1


async def test_no_label_names_a_run(
    client: httpx.AsyncClient, server: Server, service: MetricsService
) -> None:
    ended = (await client.post("/workflows/well/run")).json()
    service.sample(service.history.begun + SECOND)

    texts = [(await client.get(path)).text for path in ("/metrics", "/metrics/prometheus")]

    assert all("well" in text for text in texts)
    assert not any(ended["uid"] in text or ended["name"] in text for text in texts)


async def test_no_series_comes_of_what_clients_ask_for(client: httpx.AsyncClient) -> None:
    for path in ("/", "/nothing"):
        await client.get(path)
    before = await scraped(client)

    for n in range(200):
        await client.request(f"VERB{n}", f"/{n}?name={n}", headers={"User-Agent": f"client {n}"})

    after = await scraped(client)
    assert {name: len(found.samples) for name, found in after.items()} == {
        name: len(found.samples) for name, found in before.items()
    }
