"""Asks a server from a program in Python; the plugin ``flowdapt_client`` brings what is in here.

There is a client that blocks, and one that is awaited; both know the same calls::

    from flowdapt.client import Client

    with Client("http://127.0.0.1:8080") as client:
        run = client.runs.run("forecast", {"city": "Oslo"})
        print(run.value())
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowdapt.plugins import offered

if TYPE_CHECKING:
    from flowdapt_client.public import *  # noqa: F403


def __getattr__(name: str) -> Any:
    if name.startswith("_"):  # Python asks every module for a few of these
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return globals().setdefault(name, getattr(offered("exports", "client"), name))
