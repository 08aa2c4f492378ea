"""Notices that a cluster is lost, long before Ray says so.

When the head node's server dies, calls to Ray just take long, and after a minute Ray ends this
process; when the server of our own node dies, it takes 13 s to be told. Both listen on ports, and a
dead process accepts no connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from flowdapt_ray.connections import unreachable

PAUSE_SECONDS = 1.0  #: between two looks
ANSWER_SECONDS = 3.0  #: how long a connection may take
TIMES = 2  #: how often in a row nobody answers until that counts


async def lost(places: Mapping[str, tuple[str, int]]) -> str:
    """Wait until one of the places cannot be reached any more, and return that in words.

    :param places: host and port, by what listens there
    """
    failed = dict.fromkeys(places, 0)
    while True:
        await asyncio.sleep(PAUSE_SECONDS)
        for name, (host, port) in places.items():
            error = await unreachable(host, port, ANSWER_SECONDS)
            failed[name] = 0 if error is None else failed[name] + 1
            if failed[name] >= TIMES:
                return f"{name} at {host}:{port} does not answer: {error}"
