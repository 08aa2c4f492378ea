"""Exports a trace of each run, and the server's metrics, to an OpenTelemetry collector."""

from flowdapt.hooks import Provider, hookimpl


@hookimpl
def flowdapt_services() -> list[Provider]:
    # No `extra`: what the target imports comes with flowdapt, and it says itself what is missing.
    return [Provider("telemetry", "flowdapt_telemetry.service:TelemetryService", "Exports.")]


@hookimpl(optionalhook=True)  # nobody calls from within a trace without the HTTP interface
def flowdapt_layers() -> list[Provider]:
    return [Provider("telemetry", "flowdapt_telemetry.callers:noting")]
