"""Watches a run on a server until it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from flowdapt.client import NoServer
from flowdapt_cli.errors import INTERRUPTED
from flowdapt_cli.output import note, plain
from flowdapt_cli.progress import Stages

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flowdapt.client import Client, Run
    from flowdapt.runs import StageRecord

AWAY_SECONDS = 30.0  #: how long a server may be away, such as while it starts again


def follow(client: Client, run: Run, names: Sequence[str]) -> tuple[Run, Sequence[StageRecord]]:
    """Draw how a run goes on, and return it with its stages once it has ended.

    Ctrl-C only ends the watching, and says so.

    :param names: of the stages that are to come
    """
    last: Sequence[StageRecord] = ()

    def show(stages: Sequence[StageRecord]) -> None:
        nonlocal last
        last = stages
        drawn.show(map(plain, stages))

    try:
        note(f"run {run.name}")
        with Stages(names) as drawn:
            return client.runs.wait(run, progress=show, away=AWAY_SECONDS), last
    except NoServer:
        note(f"the server is gone; once it is back: flowdapt inspect run {run.name}")
        raise
    except KeyboardInterrupt:
        note(f"\nthe run goes on\n  see it:   flowdapt inspect run {run.name}")
        note(f"  stop it:  flowdapt cancel {run.name}")
        raise typer.Exit(INTERRUPTED) from None
