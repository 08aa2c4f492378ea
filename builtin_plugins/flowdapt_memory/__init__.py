"""Shares objects through the memory of one machine, without a copy."""

from flowdapt.hooks import Provider, hookimpl


@hookimpl
def flowdapt_memories() -> list[Provider]:
    return [Provider("shm", "flowdapt_memory.owners:OwnMemory", "Shared memory of this machine.")]


@hookimpl
def flowdapt_services() -> list[Provider]:
    return [Provider("memory", "flowdapt_memory.sweeping:MemoryService", "Sweeps shared memory.")]
