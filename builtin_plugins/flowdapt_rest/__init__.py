"""The HTTP interface: the routes of published clients, and those of our own."""

from flowdapt.hooks import Provider, hookimpl


@hookimpl
def flowdapt_services() -> list[Provider]:
    return [Provider("rest", "flowdapt_rest.service:RestService", "The HTTP interface.")]
