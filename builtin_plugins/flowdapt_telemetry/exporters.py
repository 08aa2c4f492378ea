"""What sends traces and metrics to a collector, as the settings describe it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import MetricExporter
    from opentelemetry.sdk.trace.export import SpanExporter

    from flowdapt.settings import Telemetry

GRPC_ENDPOINT = "http://localhost:4317"  #: where collectors take gRPC unless told otherwise


def endpoint(telemetry: Telemetry) -> str:
    """Return where the collector is."""
    # The setting's default is the port for HTTP; with gRPC it never answers.
    if telemetry.protocol == "grpc" and "endpoint" not in telemetry.model_fields_set:
        return GRPC_ENDPOINT
    return telemetry.endpoint


def exporters(telemetry: Telemetry) -> tuple[SpanExporter, MetricExporter]:
    """Return exporters of traces and of metrics; nothing is connected yet.

    :raises ImportError: the libraries for the protocol are not installed
    """
    # One attempt may take `timeout`, and all attempts at one batch its export timeout. The
    # libraries know one limit, of all attempts: whichever of the two ends first.
    traces = min(telemetry.timeout, telemetry.trace_export_timeout_ms / 1000)
    metrics = min(telemetry.timeout, telemetry.metrics_export_timeout_ms / 1000)
    make = _grpc if telemetry.protocol == "grpc" else _http
    return make(telemetry, traces, metrics)


def _http(
    telemetry: Telemetry, traces: float, metrics: float
) -> tuple[SpanExporter, MetricExporter]:
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    base = endpoint(telemetry).rstrip("/")
    shared: dict[str, Any] = {
        "headers": telemetry.headers,
        "compression": Compression(telemetry.compression),
    }
    return (
        OTLPSpanExporter(f"{base}/v1/traces", timeout=traces, **shared),
        OTLPMetricExporter(f"{base}/v1/metrics", timeout=metrics, **shared),
    )


def _grpc(
    telemetry: Telemetry, traces: float, metrics: float
) -> tuple[SpanExporter, MetricExporter]:
    from grpc import Compression
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    compressions = {"gzip": Compression.Gzip, "deflate": Compression.Deflate}
    headers = telemetry.headers
    shared: dict[str, Any] = {
        "endpoint": endpoint(telemetry),
        "headers": headers and {name.lower(): value for name, value in headers.items()},
        "compression": compressions.get(telemetry.compression, Compression.NoCompression),
    }
    return (
        OTLPSpanExporter(timeout=traces, **shared),
        OTLPMetricExporter(timeout=metrics, **shared),
    )
