"""Export costs nothing where it is off, and little where the collector is in trouble."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from flowdapt_telemetry import complaints, export

from flowdapt.events import RUN_FINISHED
from flowdapt.runs import RunState
from tests.plugins.telemetry.conftest import Collector

if TYPE_CHECKING:
    from flowdapt.server import Server
    from tests.plugins.telemetry.conftest import Serving, Stages

pytestmark = pytest.mark.anyio

NOBODY = "http://127.0.0.1:9"  #: the port `discard`, where nobody listens
OFF = """
import asyncio, sys
from pathlib import Path
from flowdapt_cli.reading import settings
from flowdapt.plugins import Plugins
from flowdapt.server import Server

async def main():
    overrides = ["services.compute.executor=inline"]
    read = settings.load(Path(sys.argv[1]), "-", environ={}, overrides=overrides)
    plugins = Plugins.load(safe_mode=True)
    async with Server(read, plugins, only=frozenset({"telemetry"})) as server:
        print(server.engine.events._listeners, [m for m in sys.modules if "opentelemetry" in m])

asyncio.run(main())
"""


async def run(server: Server, name: str = "well") -> RunState:
    return (await server.engine.wait((await server.engine.submit(name, {})).uid)).run.state


def told(caplog: pytest.LogCaptureFixture, level: int = logging.WARNING) -> list[str]:
    """Return what was logged of telemetry, from a level on."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.name.startswith(("flowdapt_telemetry", "opentelemetry", "urllib3"))
        and record.levelno >= level
    ]


def test_where_it_is_off_nothing_is_imported_and_nothing_listened_to(tmp_path: Path) -> None:
    command = [sys.executable, "-c", OFF, str(tmp_path)]

    done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert done.stdout == "[] []\n"


@pytest.mark.parametrize("protocol", ["http", "grpc"])
async def test_a_missing_library_is_advice_and_the_server_starts(
    serving: Serving,
    collector: Collector,
    protocol: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setitem(sys.modules, f"opentelemetry.exporter.otlp.proto.{protocol}", None)
    monkeypatch.setitem(
        sys.modules, f"opentelemetry.exporter.otlp.proto.{protocol}.metric_exporter", None
    )

    async with serving(collector, f"telemetry.protocol={protocol}") as server:
        assert not server.engine.events.heard("anything but the ends of runs")
        assert await run(server) is RunState.FINISHED

    (line,) = told(caplog)
    assert "telemetry.enabled is set" in line
    assert "pip install 'flowdapt[otel]'" in line
    assert not collector.asked


async def test_a_server_starts_whatever_is_wrong_with_exporting(
    serving: Serving, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_: object) -> None:
        raise RuntimeError("libraries that do not fit")

    monkeypatch.setattr(export, "exporters", broken)

    async with serving(NOBODY) as server:
        assert await run(server) is RunState.FINISHED

    assert told(caplog) == ["telemetry.enabled is set, and nothing is exported"]


async def test_a_collector_that_is_away_costs_one_warning_with_its_address_and_the_reason(
    serving: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    chosen = ["telemetry.timeout=1.5", "telemetry.metrics_interval_ms=20"]

    async with serving(NOBODY, *chosen) as server:
        for _ in range(3):
            assert await run(server) is RunState.FINISHED
            await failed_once_more(server)

    (line,) = told(caplog)
    assert NOBODY in line
    assert "refused" in line


async def failed_once_more(server: Server) -> None:
    """Return once the collector was tried again, in vain."""
    heard = server.services["telemetry"].export.complaints  # type: ignore[attr-defined]
    failed, tried = heard.failed, asyncio.Event()

    def noting(what: str, *, lost: int = 0) -> None:
        failed(what, lost=lost)
        tried.set()

    heard.failed = noting
    async with asyncio.timeout(30):
        await tried.wait()
    heard.failed = failed


async def test_a_warning_comes_again_after_a_while_and_relief_is_told(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment = 1000.0
    monkeypatch.setattr(complaints, "monotonic", lambda: moment)
    heard = complaints.Complaints("http://collector")
    caplog.set_level(logging.INFO)

    for _ in range(3):
        heard.failed("traces", lost=10)
        moment += complaints.PAUSE_SECONDS / 2
    heard.succeeded("metrics")
    heard.succeeded("traces")
    heard.succeeded("traces")

    first, second, third = told(caplog, logging.INFO)
    assert "(spans lost so far: 10)" in first
    assert "(spans lost so far: 30)" in second
    assert "takes telemetry again" in third


async def test_a_collector_that_refuses_is_told_of_with_its_answer(
    serving: Serving, collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    collector.status = 403

    async with serving(collector) as server:
        await run(server)
        await failed_once_more(server)

    (line,) = told(caplog)
    assert "403" in line
    assert "takes no traces" in line
    assert "(spans lost so far: 3)" in line


async def test_what_a_collector_could_not_take_for_a_moment_arrives_later(
    serving: Serving, collector: Collector
) -> None:
    collector.status = 503

    async with serving(collector) as server:
        await run(server)
        await collector.until(lambda c: c.asked >= 1)
        collector.status = 200
        await collector.until(lambda c: len(c.spans) == 3)


async def test_a_collector_that_does_not_answer_holds_up_neither_runs_nor_the_loop(
    serving: Serving, collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    collector.gate.clear()
    limits = ["telemetry.trace_max_queue_size=4", "telemetry.trace_export_batch_size=2"]

    async with serving(collector, *limits) as server:
        await run(server)
        await collector.until(lambda c: c.asked == 1)
        longest = await longest_turn(run(server) for _ in range(40))
        traces = server.services["telemetry"].export._traces  # type: ignore[attr-defined]

        assert traces._runs.full()
        assert traces._waiting == 4
        collector.gate.set()
        await collector.until(lambda c: len(c.spans) >= 12)

    assert longest < 1  # an answer would have taken ten
    (line,) = told(caplog)
    assert line.startswith("runs end faster than the collector")


async def longest_turn(work: object) -> float:
    """Do things one after another, and return how long the loop was held up at most."""
    longest, last, over = 0.0, time.monotonic(), False

    async def turns() -> None:
        nonlocal longest, last
        while not over:
            await asyncio.sleep(0)
            longest, last = max(longest, time.monotonic() - last), time.monotonic()

    turning = asyncio.create_task(turns())
    for one in work:  # type: ignore[attr-defined]
        await one
    over = True
    await turning
    return longest


async def test_a_server_does_not_wait_long_for_a_collector_when_it_stops(
    serving: Serving, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "STOP_SECONDS", 0.2)
    collector.gate.clear()

    async with serving(collector) as server:
        await run(server)
        await collector.until(lambda c: c.asked == 1)
        stopping = time.monotonic()

    assert time.monotonic() - stopping < 5  # the collector would have been waited for for ten
    assert not server.engine.events.heard(RUN_FINISHED)


async def test_the_log_of_the_libraries_is_as_it_was_when_the_server_has_stopped(
    serving: Serving, collector: Collector
) -> None:
    library = logging.getLogger("opentelemetry")
    before = [*library.handlers], library.propagate

    async with serving(collector):
        assert not library.propagate

    assert ([*library.handlers], library.propagate) == before


async def test_a_line_about_a_run_carries_its_trace(
    serving: Serving, collector: Collector, stages: Stages, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "flowdapt")

    async with serving(collector) as server:
        begun = await server.engine.submit("waiting", {})
        await stages.reached.wait()
        await server.storage.delete_run(begun.uid)
        stages.gate.set()
        await server.engine.wait(begun.uid)

    (record,) = [r for r in caplog.records if "was deleted or ended" in r.getMessage()]
    assert vars(record)["trace_id"] == begun.uid.hex
