"""The memory of a server whose objects are on a Dask cluster, as other processes reach it."""

from __future__ import annotations

import os
from pathlib import Path

from flowdapt_workers.sockets import SocketMemory, outside

from flowdapt.objects import Memory

TARGET = "flowdapt_dask.memory:attach"  #: what processes attach with
SOCKET = "FLOWDAPT_DASK_MEMORY"  #: the variable that names the socket of an agent


def served(*, app_dir: Path) -> SocketMemory:
    """Return the server's view of the cluster's memory."""
    return outside(app_dir, target=TARGET)


def attach(path: str) -> Memory:
    """Return the memory of a server, as this process has it.

    :param path: of the socket of the gateway; processes of a Dask worker have one that is nearer
    """
    return SocketMemory(os.environ.get(SOCKET, path), target=TARGET)
