"""Shares objects through the memory of one machine, without a copy."""

from flowdapt.hooks import Provider, hookimpl


@hookimpl
def flowdapt_memories() -> list[Provider]:
    return [Provider("shm", "flowdapt_memory.shm:ShmMemory", "Shared memory of this machine.")]
