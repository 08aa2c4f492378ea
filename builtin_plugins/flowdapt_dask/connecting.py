"""Reaching a cluster that runs already."""

from __future__ import annotations

import asyncio
import logging
import sys
from importlib.metadata import version as version_of
from typing import Any, cast

from distributed import Client, Security
from flowdapt_workers.clusters import ClusterUnavailable

from flowdapt_dask import entry, traces
from flowdapt_dask.agent import name_of

logger = logging.getLogger(__name__)

PRUNE_SECONDS = 30.0  #: how often the scheduler is to forget tasks that are gone
WATCH_SECONDS = 0.25  #: how often the connection is looked at
LEAVE_SECONDS = 3.0  #: how long the cluster may take to forget a server
CLOSE_SECONDS = 1.0  #: how long a client may take to close
CONNECT_SECONDS = 5.0  #: how long it may take
SEND_SECONDS = 0.001  #: for how long messages are gathered; Dask's 10 ms are half of a short order


def security_of(options: dict[str, Any] | None) -> Security | None:
    """Return how connections are secured, where that is not up to Dask's own configuration.

    :raises ClusterUnavailable: an option is none of Dask's
    """
    if options is None:
        return None
    try:
        made: Security = cast(Any, Security)(**options)
        return made
    except TypeError as error:
        said = f"the option 'security' of the Dask executor is wrong: {error}"
        raise ClusterUnavailable(said, final=True) from error


async def connected(address: str, security: Security | None) -> Any:
    """Return a client of a scheduler.

    :raises ClusterUnavailable: it cannot be reached, or has other versions
    """
    client: Any = cast(Any, Client)(  # it has no types
        address,
        asynchronous=True,
        security=security,
        timeout=CONNECT_SECONDS,
        set_as_default=False,
        direct_to_workers=False,
        name="flowdapt",
    )
    try:
        await asyncio.wait_for(client, CONNECT_SECONDS)
    except (OSError, TimeoutError, ValueError, ImportError) as error:
        await client.close()
        said = f"no Dask scheduler answers at {address}: {error or 'it took too long'}"
        raise ClusterUnavailable(said, final=isinstance(error, ValueError)) from error
    client.scheduler_comm.interval = SEND_SECONDS
    return client


async def check_versions(client: Any, version: str, topic: str) -> None:
    """Make sure that the scheduler goes with us.

    :param version: of flowdapt
    :param topic: of the events that are meant for us
    :raises ClusterUnavailable: it does not, with both versions
    """
    theirs = await client.scheduler.versions()
    ours = versions()
    their_python = ".".join(str(theirs["host"]["python"]).split(".")[:2])
    _same("Python", ours["Python"], their_python)
    _same("distributed", ours["distributed"], theirs["packages"]["distributed"])
    try:
        their_version = await client.run_on_scheduler(traces.arrive, topic)
    except Exception as error:
        said = "flowdapt cannot be imported by the Dask scheduler: install flowdapt[dask] there"
        raise ClusterUnavailable(f"{said} ({error})", final=True) from error
    _same("flowdapt", version, their_version)


def versions() -> dict[str, str]:
    """Return the versions that matter between Dask processes, of this one."""
    python = ".".join(map(str, sys.version_info[:2]))
    return {"Python": python, "distributed": version_of("distributed")}


def _same(what: str, ours: str, theirs: str) -> None:
    if ours != theirs:
        said = f"the Dask scheduler has {what} {theirs}, and this server {ours}: "
        raise ClusterUnavailable(f"{said}both must have the same", final=True)


async def until_lost(client: Any) -> None:
    """Wait until the scheduler is gone."""
    while client.status == "running":  # noqa: ASYNC110 - it sets no event
        await asyncio.sleep(WATCH_SECONDS)


async def prune_on_and_on(client: Any) -> None:
    """Have the scheduler forget what it need not know any more."""
    while True:
        await asyncio.sleep(PRUNE_SECONDS)
        await client.run_on_scheduler(traces.prune)


async def leave(client: Any, server: str) -> None:
    """Have the cluster forget a server, and close its client."""
    try:
        client.unsubscribe_topic("all")  # or it is sent to us while we go
        async with asyncio.timeout(LEAVE_SECONDS):
            await client.run(entry.leave, server, on_error="ignore")
            await client.run_on_scheduler(traces.leave, name_of(server))
    except Exception as error:  # the cluster is gone, or busy: agents end by themselves
        logger.info("the cluster was left in haste: %r", error)
    await client.close(CLOSE_SECONDS)
