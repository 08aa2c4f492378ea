"""One trace for each run, as a collector receives it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from flowdapt_rest.app import make_app
from flowdapt_telemetry.spans import MOST_TEXT, caller
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from flowdapt.events import RUN_FINISHED, RUN_STARTED, STAGE_CHANGED
from flowdapt.runs import RunState
from tests.plugins.telemetry.conftest import Collector, plain

if TYPE_CHECKING:
    from flowdapt.runs import Run
    from flowdapt.server import Server
    from tests.plugins.telemetry.conftest import Serving, Stages

pytestmark = pytest.mark.anyio


async def run(server: Server, name: str) -> Run:
    begun = await server.engine.submit(name, {}, namespace="orchard")
    return (await server.engine.wait(begun.uid)).run


def by_name(collector: Collector) -> dict[str, Span]:
    return {span.name: span for span in collector.spans}


def moment(time: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time // 1000)


async def test_a_run_is_one_trace_that_is_found_by_its_uid(
    serving: Serving, collector: Collector
) -> None:
    async with serving(collector) as server:
        ended = await run(server, "well")
        await collector.until(lambda c: len(c.spans) == 3)

    spans = by_name(collector)
    assert spans.keys() == {"well", "first", "second"}
    assert {span.trace_id for span in spans.values()} == {ended.uid.bytes}
    assert len({span.span_id for span in spans.values()}) == 3
    assert spans["well"].parent_span_id == b""
    assert spans["well"].span_id == ended.uid.bytes[8:]
    assert spans["first"].parent_span_id == spans["well"].span_id
    assert spans["second"].parent_span_id == spans["well"].span_id


async def test_the_root_tells_what_ran_where_and_how_it_ended(
    serving: Serving, collector: Collector
) -> None:
    async with serving(collector, "name=orchard-server") as server:
        ended = await run(server, "well")
        await collector.until(lambda c: len(c.spans) == 3)

    root = by_name(collector)["well"]
    assert plain(root.attributes) == {
        "workflow.name": "well",
        "workflow.uid": str(ended.workflow_uid),
        "workflow.namespace": "orchard",
        "workflow.run.uid": str(ended.uid),
        "workflow.run.name": ended.name,
        "workflow.run.source": "api",
        "workflow.run.state": "finished",
    }
    assert moment(root.start_time_unix_nano) == ended.started_at
    assert moment(root.end_time_unix_nano) == ended.finished_at
    assert root.status.code == Status.STATUS_CODE_UNSET
    resource = plain(collector.traces[0].message.resource_spans[0].resource.attributes)
    assert resource["service.name"] == "orchard-server"
    assert resource["flowdapt.executor"] == "local"  # as the contract calls that of this test


async def test_a_stage_began_and_ended_when_its_record_says_so(
    serving: Serving, collector: Collector
) -> None:
    async with serving(collector) as server:
        ended = await run(server, "odd")
        await collector.until(lambda c: len(c.spans) == 3)
        records = {record.stage: record for record in await server.engine.stages(ended.uid)}

    for name, span in by_name(collector).items():
        if name != "odd":
            record, facts = records[name], plain(span.attributes)
            assert moment(span.start_time_unix_nano) == record.started_at
            assert moment(span.end_time_unix_nano) == record.finished_at
            assert facts["workflow.stage.attempts"] == record.attempts == 1
            assert facts["workflow.stage.cpu_seconds"] == record.cpu_seconds
            assert (
                facts.items() >= {f"workflow.stage.{n}": v for n, v in record.used.items()}.items()
            )
            assert facts.get("workflow.stage.worker") == record.worker
            assert facts["workflow.name"] == "odd"


async def test_items_that_failed_are_events_of_their_stage(
    serving: Serving, collector: Collector
) -> None:
    async with serving(collector) as server:
        await run(server, "odd")
        await collector.until(lambda c: len(c.spans) == 3)

    each = by_name(collector)["each"]
    facts = plain(each.attributes)
    assert (facts["workflow.stage.items"], facts["workflow.stage.items_failed"]) == (3, 1)
    (event,) = each.events
    told = plain(event.attributes)
    assert event.name == "exception"
    assert (told["exception.type"], told["exception.message"]) == ("ValueError", "2 is even")
    assert told["workflow.stage.item"] == 1
    assert each.status.code == Status.STATUS_CODE_UNSET  # as they are allowed to


async def test_a_failure_is_an_error_with_its_traceback(
    serving: Serving, collector: Collector
) -> None:
    async with serving(collector) as server:
        await run(server, "failing")
        await collector.until(lambda c: len(c.spans) == 2)

    for span in collector.spans:
        assert span.status.code == Status.STATUS_CODE_ERROR
        assert span.status.message == "ZeroDivisionError: no"
        (event,) = span.events
        told = plain(event.attributes)
        assert told["exception.type"] == "ZeroDivisionError"
        assert "ZeroDivisionError: no" in told["exception.stacktrace"]
        assert len(told["exception.stacktrace"]) <= MOST_TEXT


async def test_a_run_that_was_cancelled_did_not_fail(
    serving: Serving, collector: Collector, stages: Stages
) -> None:
    async with serving(collector) as server:
        begun = await server.engine.submit("waiting", {})
        await stages.reached.wait()
        ended = await server.engine.cancel(begun.uid)
        await collector.until(lambda c: len(c.spans) == 2)

    assert ended.run.state is RunState.CANCELLED
    root = by_name(collector)["waiting"]
    assert plain(root.attributes)["workflow.run.state"] == "cancelled"
    assert {span.status.code for span in collector.spans} == {Status.STATUS_CODE_UNSET}


async def test_a_run_that_is_not_kept_has_its_stages_too(
    serving: Serving, collector: Collector
) -> None:
    async with serving(collector, "services.compute.run_retention_duration=0") as server:
        await run(server, "well")
        await collector.until(lambda c: len(c.spans) == 3)

    spans = by_name(collector)
    assert spans.keys() == {"well", "first", "second"}
    assert plain(spans["second"].attributes)["workflow.stage.state"] == "finished"


async def test_a_run_with_more_stages_than_may_wait_loses_none(
    serving: Serving, collector: Collector
) -> None:
    limits = ["telemetry.trace_max_queue_size=8", "telemetry.trace_export_batch_size=4"]

    async with serving(collector, *limits) as server:
        await run(server, "wide")
        await collector.until(lambda c: len(c.spans) == 61)

    assert len({span.span_id for span in collector.spans}) == 61
    sizes = [
        len(scope.spans)
        for request in collector.traces
        for scope in request.message.resource_spans[0].scope_spans
    ]
    assert max(sizes) <= 4


async def test_what_waits_is_exported_when_the_server_stops(
    serving: Serving, collector: Collector
) -> None:
    async with serving(collector, "telemetry.trace_schedule_delay_ms=3600000") as server:
        await run(server, "well")
        assert not collector.traces

    assert by_name(collector).keys() == {"well", "first", "second"}


async def test_only_the_ends_of_runs_are_listened_to(
    serving: Serving, collector: Collector
) -> None:
    async with serving(collector) as server:
        heard = server.engine.events.heard

        assert heard(RUN_FINISHED)
        assert not heard(RUN_STARTED)
        assert not heard(STAGE_CHANGED)


# Callers -------------------------------------------------------------------------------------

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


async def post(server: Server, **headers: str) -> dict[str, Any]:
    transport = httpx.ASGITransport(make_app(server))
    async with httpx.AsyncClient(transport=transport, base_url="http://flowdapt") as client:
        answer = await client.post("/workflows/well/run?wait=true", json={}, headers=headers)
        found: dict[str, Any] = answer.raise_for_status().json()
        return found


async def test_a_run_is_part_of_the_trace_that_asked_for_it(
    serving: Serving, collector: Collector
) -> None:
    async with serving(collector) as server:
        ended = await post(server, traceparent=f"00-{TRACE}-{SPAN}-01")
        await collector.until(lambda c: len(c.spans) == 3)

    spans = by_name(collector)
    assert {span.trace_id.hex() for span in spans.values()} == {TRACE}
    assert spans["well"].parent_span_id.hex() == SPAN
    assert spans["first"].parent_span_id == spans["well"].span_id
    assert plain(spans["well"].attributes)["workflow.run.uid"] == ended["uid"]


async def test_a_run_that_nobody_asked_for_within_a_trace_has_its_own_beside_one_that_has(
    serving: Serving, collector: Collector
) -> None:
    async with serving(collector) as server:
        asked = asyncio.create_task(post(server, traceparent=f"00-{TRACE}-{SPAN}-01"))
        own = await post(server)
        await asked
        await collector.until(lambda c: len(c.spans) == 6)

    found = {span.trace_id.hex() for span in collector.spans}
    assert found == {TRACE, own["uid"].replace("-", "")}


@pytest.mark.parametrize(
    "header",
    [
        "",
        "nonsense",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-00",  # the caller's trace is not kept, so this one stands alone
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
    ],
)
def test_a_caller_that_is_none_is_left_out(header: str) -> None:
    assert caller(header) is None


def test_a_caller_of_a_later_version_is_understood() -> None:
    found = caller(f"01-{TRACE}-{SPAN}-03-more")

    assert found is not None
    assert (found.trace_id, found.span_id, found.is_remote) == (
        int(TRACE, 16),
        int(SPAN, 16),
        True,
    )
