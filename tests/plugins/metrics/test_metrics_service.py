"""What is counted, how much of it is kept, and what it costs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx
import pytest
from flowdapt_metrics import prometheus
from flowdapt_metrics.history import History
from flowdapt_metrics.instruments import MOST_SETS, REST, Counter, Histogram, attributes
from flowdapt_metrics.routes import routes
from flowdapt_metrics.traffic import Traffic, counted

from flowdapt.events import RUN_FINISHED, RUN_STARTED, STAGE_CHANGED
from flowdapt.server import Server

if TYPE_CHECKING:
    from flowdapt_metrics.service import MetricsService
    from starlette.types import Message, Receive, Scope, Send


def test_a_value_counts_for_the_bucket_whose_bound_it_reaches() -> None:
    spread = Histogram("h", (1, 10), unit="ms", about="")

    for value in (0.5, 1, 1.1, 10, 11):
        spread.record(value)

    assert spread.row(())[Histogram.BUCKETS :] == [2, 2, 1]
    assert spread.row(())[:4] == [5, 23.6, 0.5, 11]


def test_what_has_too_many_sets_of_attributes_is_summed_up() -> None:
    runs = Counter("runs", unit="1", about="")

    for n in range(MOST_SETS + 10):
        runs.add(1, attributes({"namespace": str(n)}))

    assert len(runs.rows) == MOST_SETS + 1
    assert runs.row(REST) == [10]
    assert runs.row(attributes({"namespace": "1"})) == [1]


def test_what_did_not_change_is_kept_once_where_that_is_wanted() -> None:
    history, runs = History(seconds=100, begun=0), Counter("runs", unit="1", about="", quiet=True)
    runs.add(1)

    for time in (1, 2, 3):
        history.sample([runs], time)
    runs.add(1)
    history.sample([runs], 4)

    kept = [(point["time_unix_nano"], point["value"]) for point in history.points("runs")]
    assert kept == [(4, 2), (1, 1)]


def test_points_that_go_while_they_are_read_are_read_all_the_same() -> None:
    history, runs = History(seconds=1, begun=0), Counter("runs", unit="1", about="")
    runs.add(1)
    for time in (1, 2, 3):
        history.sample([runs], time)

    reading = history.points("runs")
    first = next(reading)
    history.sample([runs], 10**10)

    times = [first["time_unix_nano"], *(point["time_unix_nano"] for point in reading)]
    assert times == [3, 2, 1]


def test_names_that_users_choose_are_escaped_for_scrapers() -> None:
    runs = Counter("a.b", unit="s", about="Runs.")
    runs.add(1, attributes({"workflow.name": 'a"b\\c\nd'}))

    *_, line = prometheus.text([runs]).splitlines()

    assert line == r'flowdapt_a_b_seconds_total{workflow_name="a\"b\\c\nd"} 1.0'


@pytest.mark.anyio
async def test_nothing_is_listened_to_but_the_ends_of_runs(
    server: Server, service: MetricsService
) -> None:
    heard = server.engine.events.heard

    assert heard(RUN_FINISHED)
    assert not heard(STAGE_CHANGED)
    assert not heard(RUN_STARTED)


@pytest.mark.anyio
async def test_nothing_is_listened_to_once_it_has_stopped(
    server: Server, service: MetricsService
) -> None:
    other = type(service)(server)
    await other.start()
    await other.stop()
    service._stack.close()

    assert not server.engine.events.heard(RUN_FINISHED)


@pytest.mark.anyio
@pytest.mark.parametrize("overrides", [["telemetry.metrics_interval_ms=1"]])
async def test_samples_are_taken_again_and_again_also_after_one_failed(
    service: MetricsService, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    taken, failed = asyncio.Event(), asyncio.Event()

    def sample(time: int) -> None:
        if not failed.is_set():
            failed.set()
            raise OSError("no such file")
        taken.set()

    monkeypatch.setattr(service, "sample", sample)

    async with asyncio.timeout(10):
        await taken.wait()

    assert "a sample of metrics was not taken" in caplog.text


@pytest.mark.anyio
async def test_a_server_that_counts_nothing_has_no_such_routes_and_no_layer(
    server: Server,
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError

    del server.services["metrics"]

    assert counted(app, server) is app
    assert routes(server) == []


@pytest.mark.anyio
async def test_a_reply_that_goes_on_for_hours_counts_for_its_begin(
    service: MetricsService,
) -> None:
    begun, over = asyncio.Event(), asyncio.Event()

    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        begun.set()
        await over.wait()

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        pass

    asking = asyncio.create_task(Traffic(stream, service)({"type": "http"}, receive, send))
    await begun.wait()

    assert service.latency.row(())[Histogram.COUNT] == 1
    assert service.active.row(()) == [1]
    over.set()
    await asking
    assert service.active.row(()) == [0]


@pytest.mark.anyio
async def test_a_request_that_fails_is_no_longer_counted_as_active(
    client: httpx.AsyncClient, service: MetricsService
) -> None:
    await client.get("/nothing")

    assert service.active.row(()) == [0]
