"""Watches a run on a server until it ends."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import typer

from flowdapt_cli.client import NoServer
from flowdapt_cli.errors import INTERRUPTED
from flowdapt_cli.output import note
from flowdapt_cli.progress import FINAL, Stages

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flowdapt_cli.client import Client

PAUSE_SECONDS = 0.1  #: between two looks at a run
FIRST_SECONDS = 0.01  #: the first pause, so that a short run is not waited for


def follow(
    client: Client, run: Mapping[str, Any], workflow: Mapping[str, Any]
) -> tuple[dict[str, Any], Sequence[dict[str, Any]]]:
    """Draw how a run goes on, and return it with its stages once it has ended.

    Ctrl-C only ends the watching, and says so.

    :param workflow: which the run is of
    """
    names = [stage["name"] for stage in workflow["spec"]["stages"]]
    pause = FIRST_SECONDS
    try:
        with Stages(names) as drawn:
            while True:
                now = client.run(run["uid"])
                stages = client.stages(run["uid"])
                drawn.show(stages)
                if now["state"] in FINAL:
                    return now, stages
                time.sleep(pause)
                pause = min(PAUSE_SECONDS, pause * 1.5)
    except NoServer:
        note(f"the server is gone; once it is back: flowdapt inspect run {run['name']}")
        raise
    except KeyboardInterrupt:
        name = run["name"]
        note(f"\nthe run goes on\n  see it:   flowdapt inspect run {name}")
        note(f"  stop it:  flowdapt cancel {name}")
        raise typer.Exit(INTERRUPTED) from None
