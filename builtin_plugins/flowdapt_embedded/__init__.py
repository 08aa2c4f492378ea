"""Runs workflows inside the calling process, without a server: ``flowdapt.run``."""

from flowdapt.hooks import Provider, hookimpl


@hookimpl
def flowdapt_exports() -> list[Provider]:
    return [Provider("run", "flowdapt_embedded.run:run", "Run a workflow in this process.")]
