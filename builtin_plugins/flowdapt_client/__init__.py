"""Asks servers over HTTP, for programs in Python: ``flowdapt.client``."""

from flowdapt.hooks import Provider, hookimpl


@hookimpl
def flowdapt_exports() -> list[Provider]:
    return [Provider("client", f"{__name__}.public:NAMES", "Clients of a server.")]
