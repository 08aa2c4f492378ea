"""Computes stages on this machine: in worker processes, in threads, or in the server itself."""

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
        Provider("threads", "flowdapt_local.executor:threads", "Threads of the server."),
        Provider(
            "inline",
            "flowdapt.inline:InlineExecutor",
            "The server's own thread, one stage after another, for debuggers.",
        ),
    ]
