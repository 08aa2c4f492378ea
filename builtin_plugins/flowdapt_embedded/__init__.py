"""What needs neither a server nor a disk: ``flowdapt.run``, and a storage in memory."""

from flowdapt.hooks import Provider, hookimpl


@hookimpl
def flowdapt_exports() -> list[Provider]:
    return [Provider("run", "flowdapt_embedded.run:run", "Run a workflow in this process.")]


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
