"""Where objects are for code that belongs to no run of a server: scripts, notebooks, tests."""

from __future__ import annotations

import atexit
import fcntl
import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from flowdapt.context import Address, Places
from flowdapt.plugins import Plugins
from flowdapt.server import LOCK, memory, placed

if TYPE_CHECKING:
    from flowdapt.settings import Settings


@cache
def places() -> Places:
    """Return where objects are: where the server of the application directory has them, if it runs.

    Without a server there is a memory that ends with this process, and artifacts are where the
    settings say. It is looked up once.
    """
    plugins = Plugins.load(cache_dir=None)
    settings: Settings = plugins.resolve("exports", "settings")()
    if found := _of_server(settings.app_dir / LOCK):
        return found
    own = memory(plugins, settings, auto="shm")
    if own is not None:
        atexit.register(own.close)
    return placed(plugins, settings, own)


def _of_server(lock: Path) -> Places | None:
    """Return what the server that holds a lock noted there, if one does."""
    try:
        with open(lock, encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                memory, artifacts, strategy = json.load(file)["places"]
                return Places(
                    memory and Address(*memory), artifacts and Address(*artifacts), strategy
                )
    except (OSError, ValueError, KeyError):  # none was ever here, or it is just starting
        return None
    return None
