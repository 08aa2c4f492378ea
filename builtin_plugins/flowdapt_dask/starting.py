"""A cluster of this machine: a scheduler and one worker, in the process of the gateway.

They only pass messages on: stages are computed in processes that the worker keeps. Together in one
process they need no sockets, and measured beside processes of their own an order takes half the
time. And they end with it, however that ends.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from distributed import Scheduler, Security, Worker

from flowdapt_dask.devices import visible

LOOPBACK = "127.0.0.1"
DASHBOARD_PORT = 9968
SCHEDULER_PORT = 6684
SEND_SECONDS = 0.001  #: for how long messages are gathered; by default twice as long


async def started(
    stack: AsyncExitStack, folder: Path, options: Mapping[str, Any], security: Security | None
) -> tuple[Scheduler, Worker]:
    """Start a scheduler and a worker, which end with the stack.

    :param folder: for what the worker has on disk
    """
    logging.getLogger("distributed").setLevel(logging.WARNING)  # Dask says much at its start
    os.makedirs(folder, mode=0o700, exist_ok=True)
    port, resources = options.get("dashboard_port", DASHBOARD_PORT), _resources(options)
    scheduler = Scheduler(
        **_listening(options),
        security=security,
        dashboard=port is not False,
        dashboard_address=f"{LOOPBACK}:{port or 0}",
    )
    await stack.enter_async_context(scheduler)
    worker = Worker(
        scheduler.address,
        name=os.uname().nodename,
        nthreads=max(1, round(resources["cpus"])),
        resources=resources,
        memory_limit=0,
        local_directory=str(folder),
        dashboard=False,
        dashboard_address=f"{LOOPBACK}:0",
        host=None if scheduler.address.startswith("inproc") else LOOPBACK,
        security=security,
    )
    await stack.enter_async_context(worker)
    return scheduler, worker


def hasten(scheduler: Scheduler, worker: Worker, client: Any) -> None:
    """Have them gather messages for a shorter while; two thirds of a short order are such waits."""
    streams = [worker.batched_stream, scheduler.stream_comms[worker.address]]
    for stream in (*streams, scheduler.client_comms[client.id]):
        stream.interval = SEND_SECONDS


def _listening(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return where the scheduler listens: nowhere, unless that was asked for."""
    if not {"scheduler_host", "scheduler_port", "scheduler_scheme"} & set(options):
        return {"protocol": "inproc"}
    return {
        "protocol": options.get("scheduler_scheme", "tcp"),
        "host": options.get("scheduler_host", LOOPBACK),
        "port": options.get("scheduler_port", SCHEDULER_PORT),
    }


def _resources(options: Mapping[str, Any]) -> dict[str, float]:
    """Return what there is to give out, by options or else by what the machine has."""
    cpus = options.get("cpus", len(os.sched_getaffinity(0)))
    gpus = options.get("gpus", len(visible()))
    memory = options.get("memory", os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return {**options.get("resources", {}), "cpus": cpus, "gpus": gpus, "memory": memory}
