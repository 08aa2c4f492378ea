"""Computes stages in worker processes of this machine."""

from flowdapt.hooks import Provider, hookimpl


@hookimpl
def flowdapt_executors() -> list[Provider]:
    return [
        Provider(
            "local",
            "flowdapt_local.executor:local",
            "Worker processes on this machine.",
            aliases=(
                "flowdapt.compute.executor.local.LocalExecutor",
                "flowdapt.compute.executor.local.executor.LocalExecutor",
            ),
        ),
    ]
