"""How it is exported: every setting, both protocols, and the metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from flowdapt_telemetry.exporters import GRPC_ENDPOINT, endpoint
from opentelemetry.proto.metrics.v1.metrics_pb2 import AGGREGATION_TEMPORALITY_CUMULATIVE

from flowdapt.settings import Telemetry
from tests.plugins.telemetry.conftest import Collector, plain

if TYPE_CHECKING:
    from flowdapt.server import Server
    from tests.plugins.telemetry.conftest import Serving

pytestmark = pytest.mark.anyio


async def run(server: Server, name: str) -> None:
    await server.engine.wait((await server.engine.submit(name, {})).uid)


@pytest.mark.parametrize("compression", ["none", "gzip", "deflate"])
async def test_http_compresses_as_it_is_told(
    serving: Serving, collector: Collector, compression: str
) -> None:
    async with serving(collector, f"telemetry.compression={compression}") as server:
        await run(server, "well")

    assert len(collector.spans) == 3
    for request in (*collector.traces, *collector.metrics):
        assert request.headers.get("content-encoding", "none") == compression


async def test_http_sends_the_headers_that_are_set(serving: Serving, collector: Collector) -> None:
    headers = {"X-Orchard": "apples", "Authorization": "Bearer pear"}
    chosen = [f"telemetry.headers.{name}={value}" for name, value in headers.items()]

    async with serving(collector, *chosen) as server:
        await run(server, "well")

    for request in (*collector.traces, *collector.metrics):
        assert request.headers["x-orchard"] == "apples"
        assert request.headers["authorization"] == "Bearer pear"
        assert request.headers["content-type"] == "application/x-protobuf"


async def test_an_endpoint_may_end_in_a_slash(serving: Serving, collector: Collector) -> None:
    async with serving(f"{collector.address}/") as server:
        await run(server, "well")

    assert len(collector.spans) == 3


@pytest.mark.parametrize("compression", ["none", "gzip", "deflate"])
async def test_grpc_carries_traces_and_metrics(
    serving: Serving, grpc_collector: Collector, compression: str
) -> None:
    chosen = [
        "telemetry.protocol=grpc",
        f"telemetry.compression={compression}",
        "telemetry.headers.X-Orchard=apples",
    ]

    async with serving(grpc_collector, *chosen) as server:
        await run(server, "well")

    assert {span.name for span in grpc_collector.spans} == {"well", "first", "second"}
    assert "workflows_executed" in grpc_collector.measures
    for request in (*grpc_collector.traces, *grpc_collector.metrics):
        assert request.headers["x-orchard"] == "apples"


@pytest.mark.parametrize(
    ("set_", "expected"),
    [
        ({}, "http://localhost:4318"),
        ({"protocol": "grpc"}, GRPC_ENDPOINT),
        ({"protocol": "grpc", "endpoint": "http://localhost:4318"}, "http://localhost:4318"),
        ({"endpoint": "https://collector:1"}, "https://collector:1"),
    ],
)
def test_grpc_has_a_port_of_its_own_unless_one_is_set(set_: dict[str, str], expected: str) -> None:
    assert endpoint(Telemetry.model_validate(set_)) == expected


# Metrics -------------------------------------------------------------------------------------


async def test_metrics_are_exported_again_and_again(serving: Serving, collector: Collector) -> None:
    async with serving(collector, "telemetry.metrics_interval_ms=5"):
        await collector.until(lambda c: len(c.metrics) >= 3)


async def test_counters_gauges_and_histograms_arrive_as_what_they_are(
    serving: Serving, collector: Collector
) -> None:
    async with serving(collector) as server:
        for name in ("well", "well", "failing"):
            await run(server, name)

    measures = collector.measures
    executed = measures["workflows_executed"]
    assert executed.sum.is_monotonic
    assert executed.sum.aggregation_temporality == AGGREGATION_TEMPORALITY_CUMULATIVE
    counts = {
        plain(point.attributes)["workflow.name"]: point.as_double
        for point in executed.sum.data_points
    }
    assert counts == {"well": 2, "failing": 1}
    memory = measures["process.runtime.cpython.memory"]
    assert memory.unit == "By"
    assert {plain(p.attributes)["type"] for p in memory.gauge.data_points} == {"rss", "vms"}
    times = {
        plain(point.attributes)["workflow.name"]: point
        for point in measures["workflow_execution_time"].histogram.data_points
    }
    assert measures["workflow_execution_time"].unit == "ms"
    assert times["well"].count == sum(times["well"].bucket_counts) == 2
    assert len(times["well"].bucket_counts) == len(times["well"].explicit_bounds) + 1
    assert times["well"].min <= times["well"].max <= times["well"].sum


async def test_a_histogram_without_a_value_is_left_out(
    serving: Serving, collector: Collector
) -> None:
    async with serving(collector):
        pass

    assert "api_request_latency" not in collector.measures
    assert "system.memory.usage" in collector.measures


async def test_a_server_that_counts_nothing_exports_traces_alone(
    serving: Serving, collector: Collector
) -> None:
    async with serving(collector) as server:
        export = server.services["telemetry"].export  # type: ignore[attr-defined]
        export._measuring = None
        await run(server, "well")

    assert len(collector.spans) == 3
    assert not collector.metrics
