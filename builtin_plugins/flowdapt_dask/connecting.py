"""Reaching a cluster that runs already."""

from __future__ import annotations

import asyncio
import sys
from importlib.metadata import version as version_of
from typing import Any, cast

from distributed import Client, Security
from flowdapt_workers.clusters import ClusterUnavailable

from flowdapt_dask import traces

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
    python = ".".join(map(str, sys.version_info[:2]))
    their_python = ".".join(str(theirs["host"]["python"]).split(".")[:2])
    _same("Python", python, their_python)
    _same("distributed", version_of("distributed"), theirs["packages"]["distributed"])
    try:
        their_version = await client.run_on_scheduler(traces.arrive, topic)
    except Exception as error:
        said = "flowdapt cannot be imported by the Dask scheduler: install flowdapt[dask] there"
        raise ClusterUnavailable(f"{said} ({error})", final=True) from error
    _same("flowdapt", version, their_version)


def _same(what: str, ours: str, theirs: str) -> None:
    if ours != theirs:
        said = f"the Dask scheduler has {what} {theirs}, and this server {ours}: "
        raise ClusterUnavailable(f"{said}both must have the same", final=True)
