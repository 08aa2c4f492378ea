"""Where objects are for code outside of a stage: scripts, notebooks, what a stage starts."""

from __future__ import annotations

import atexit
import fcntl
import json
import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowdapt.context import PLACES, Address, Places
from flowdapt.plugins import Plugins
from flowdapt.server import LOCK, memory, placed

if TYPE_CHECKING:
    from flowdapt.settings import Settings


@cache
def places() -> Places:
    """Return where objects are: where the server of the application directory has them, if it runs.

    In threads and child processes of a stage they are where the stage has them. Without a server
    there is a memory that ends with this process, and artifacts are where the settings say. It is
    looked up once.
    """
    if given := os.environ.get(PLACES):
        return _from(json.loads(given))
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
                return _from(json.load(file)["places"])
    except (OSError, ValueError, KeyError):  # none was ever here, or it is just starting
        return None
    return None


def _from(given: Any) -> Places:
    memory, artifacts, strategy = given
    return Places(memory and Address(*memory), artifacts and Address(*artifacts), strategy)
