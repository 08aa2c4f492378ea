"""Counts what the server does, keeps it for some hours, and shows it to clients and scrapers."""

from flowdapt.hooks import Provider, hookimpl


@hookimpl
def flowdapt_services() -> list[Provider]:
    return [Provider("metrics", "flowdapt_metrics.service:MetricsService", "Counts and measures.")]


@hookimpl(optionalhook=True)  # there are no routes without the HTTP interface
def flowdapt_routes() -> list[Provider]:
    return [Provider("metrics", "flowdapt_metrics.routes:routes")]


@hookimpl(optionalhook=True)
def flowdapt_layers() -> list[Provider]:
    return [Provider("metrics", "flowdapt_metrics.traffic:counted")]
