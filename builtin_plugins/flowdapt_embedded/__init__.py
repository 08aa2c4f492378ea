"""What needs no other process and no disk: an executor, a storage, and ``flowdapt.run``."""

from flowdapt.hooks import Provider, hookimpl


@hookimpl
def flowdapt_exports() -> list[Provider]:
    return [Provider("run", "flowdapt_embedded.run:run", "Run a workflow in this process.")]


@hookimpl
def flowdapt_executors() -> list[Provider]:
    return [
        Provider("threads", "flowdapt_workers.inline:threads", "Threads of the server."),
        Provider(
            "inline",
            "flowdapt_workers.inline:InlineExecutor",
            "The server's own thread, one stage after another, for debuggers.",
        ),
    ]


@hookimpl
def flowdapt_storages() -> list[Provider]:
    return [
        Provider(
            "memory",
            "flowdapt_embedded.memory:MemoryStorage",
            "The memory of the process; all is forgotten when it ends.",
            aliases=("flowdapt.lib.database.storage.memory.InMemoryStorage",),
        )
    ]
