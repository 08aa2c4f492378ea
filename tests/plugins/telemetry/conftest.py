"""Collectors that take OTLP as real ones do, and servers that export to them."""

from __future__ import annotations

import asyncio
import gzip
import logging
import sys
import threading
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import grpc
import pytest
from flowdapt_cli.reading import settings
from flowdapt_telemetry.complaints import LIBRARY, Complaints
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics_pb
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as metrics_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as trace_pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as trace_grpc

from flowdapt.plugins import Plugins
from flowdapt.server import Server

WAIT_SECONDS = 30

Serving = Callable[..., AbstractAsyncContextManager[Server]]


@dataclass
class Request:
    """What came in one request."""

    headers: dict[str, str]
    message: Any


def plain(attributes: Any) -> dict[str, Any]:
    """Return attributes as a dictionary."""
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


@dataclass
class Collector:
    """What arrived, and what is to be answered."""

    address: str = ""
    status: int = 200  #: of answers over HTTP
    traces: list[Request] = field(default_factory=list)
    metrics: list[Request] = field(default_factory=list)
    asked: int = 0  #: requests, those that were refused too
    gate: threading.Event = field(default_factory=threading.Event)  #: no answer until it is open
    changed: threading.Condition = field(default_factory=threading.Condition)

    def __post_init__(self) -> None:
        self.gate.set()

    @property
    def spans(self) -> list[Any]:
        """All spans that arrived."""
        return [
            span
            for request in self.traces
            for resource in request.message.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    @property
    def measures(self) -> dict[str, Any]:
        """The latest metrics that arrived, by name."""
        (resource,) = self.metrics[-1].message.resource_metrics
        return {one.name: one for scope in resource.scope_metrics for one in scope.metrics}

    def take(self, into: list[Request], headers: dict[str, str], message: Any) -> None:
        """Keep what came in a request."""
        with self.changed:
            into.append(Request(headers, message))
            self.changed.notify_all()

    def ask(self) -> None:
        """Note a request, and hold it back while the gate is closed."""
        with self.changed:
            self.asked += 1
            self.changed.notify_all()
        self.gate.wait(WAIT_SECONDS)

    async def until(self, true: Callable[[Collector], Any]) -> None:
        """Return once something is true of what arrived."""

        def wait() -> None:
            with self.changed:
                assert self.changed.wait_for(lambda: true(self), WAIT_SECONDS), "it never came"

        await asyncio.to_thread(wait)


class Handler(BaseHTTPRequestHandler):
    """Takes OTLP over HTTP."""

    protocol_version = "HTTP/1.1"
    collector: ClassVar[Collector]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        collector = self.collector
        collector.ask()
        if collector.status == 200:
            encoding = self.headers.get("Content-Encoding")
            if encoding is not None:
                body = gzip.decompress(body) if encoding == "gzip" else zlib.decompress(body)
            kinds: dict[str, tuple[list[Request], Any]] = {
                "/v1/traces": (collector.traces, trace_pb.ExportTraceServiceRequest),
                "/v1/metrics": (collector.metrics, metrics_pb.ExportMetricsServiceRequest),
            }
            into, kind = kinds[self.path]
            headers = {name.lower(): value for name, value in self.headers.items()}
            collector.take(into, headers, kind.FromString(body))
        self.send_response(collector.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A collector over HTTP."""
    made = Collector()
    handler = type("OneHandler", (Handler,), {"collector": made})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    made.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield made
    made.gate.set()
    server.shutdown()
    server.server_close()
    thread.join()


class TraceTaker(trace_grpc.TraceServiceServicer):
    def __init__(self, collector: Collector) -> None:
        self.collector = collector

    def Export(self, request: Any, context: Any) -> Any:  # noqa: N802 - the name in the protocol
        self.collector.take(self.collector.traces, dict(context.invocation_metadata()), request)
        return trace_pb.ExportTraceServiceResponse()


class MetricsTaker(metrics_grpc.MetricsServiceServicer):
    def __init__(self, collector: Collector) -> None:
        self.collector = collector

    def Export(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.collector.take(self.collector.metrics, dict(context.invocation_metadata()), request)
        return metrics_pb.ExportMetricsServiceResponse()


@pytest.fixture
def grpc_collector() -> Iterator[Collector]:
    """A collector over gRPC."""
    made = Collector()
    server = grpc.server(ThreadPoolExecutor(2))
    add_traces: Any = trace_grpc.add_TraceServiceServicer_to_server  # which has no types
    add_traces(TraceTaker(made), server)
    add_metrics: Any = metrics_grpc.add_MetricsServiceServicer_to_server
    add_metrics(MetricsTaker(made), server)
    port = server.add_insecure_port("127.0.0.1:0")
    made.address = f"http://127.0.0.1:{port}"
    server.start()
    yield made
    server.stop(None).wait()


class Stages:
    """Functions that stages of the tests name as ``telemetry_stages.<function>``."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()  #: a stage waits
        self.gate = asyncio.Event()  #: lets it go on

    def numbers(self) -> list[int]:
        return [1, 2, 3]

    def well(self, *values: Any) -> int:
        return len(values)

    def odd(self, number: int) -> int:
        if number % 2 == 0:
            raise ValueError(f"{number} is even")
        return number

    def failing(self) -> None:
        raise ZeroDivisionError("no")

    async def waiting(self) -> None:
        self.reached.set()
        await self.gate.wait()


@pytest.fixture
def stages() -> Iterator[Stages]:
    made, module = Stages(), ModuleType("telemetry_stages")
    for name in ("numbers", "well", "odd", "failing", "waiting"):
        setattr(module, name, getattr(made, name))
    sys.modules["telemetry_stages"] = module
    yield made
    del sys.modules["telemetry_stages"]


def stage(name: str, function: str, *depends_on: str, **more: Any) -> dict[str, Any]:
    target = f"telemetry_stages.{function}"
    return {"name": name, "target": target, "depends_on": [*depends_on], **more}


WORKFLOWS = {
    "well": [stage("first", "numbers"), stage("second", "well", "first")],
    "odd": [
        stage("numbers", "numbers"),
        stage(
            "each",
            "odd",
            "numbers",
            type="parameterized",
            options={"allow_partial_failure": True},
        ),
    ],
    "failing": [stage("only", "failing")],
    "waiting": [stage("only", "waiting")],
    "wide": [stage(f"s{n}", "well") for n in range(60)],
}


@pytest.fixture
def library_log() -> Iterator[None]:
    """Leaves the log of the libraries as it was, also where a server could not."""
    library = logging.getLogger(LIBRARY)
    yield
    library.propagate = True
    for handler in [h for h in library.handlers if isinstance(h, Complaints)]:
        library.removeHandler(handler)


@pytest.fixture
def serving(tmp_path: Path, stages: Stages, library_log: None, anyio_backend: str) -> Serving:
    """Makes servers that export, each as a context."""

    @asynccontextmanager
    async def made(collector: Collector | str, *overrides: str) -> AsyncIterator[Server]:
        chosen = [
            "services.compute.executor=inline",
            "telemetry.enabled=true",
            f"telemetry.endpoint={getattr(collector, 'address', collector)}",
            "telemetry.trace_schedule_delay_ms=10",
            "telemetry.metrics_interval_ms=3600000",
            *overrides,
        ]
        read = settings.load(tmp_path, "-", environ={}, overrides=chosen)
        services = frozenset({"metrics", "telemetry"})
        async with Server(read, Plugins.load(safe_mode=True), only=services) as server:
            for name, of_it in WORKFLOWS.items():
                workflow = {"metadata": {"name": name}, "spec": {"stages": of_it}}
                await server.engine.create(server.engine.model("workflow"), workflow)
            yield server

    return made
