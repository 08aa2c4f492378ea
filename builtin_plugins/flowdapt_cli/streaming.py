"""Prints what a run yields, while it does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from flowdapt_cli.errors import INTERRUPTED
from flowdapt_cli.output import Form, dump_one, note

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from flowdapt.client import Client


def stream_items(
    client: Client,
    workflow: UUID,
    values: Mapping[str, Any],
    *,
    namespace: str | None,
    output: Form,
) -> None:
    """Start a run, and print its items, each as a line or as a document. Ctrl-C ends only that.

    :raises RunFailed: it failed, or was cancelled
    """
    known: list[UUID] = []

    def begun(run: UUID) -> None:
        known.append(run)
        note(f"run {run}")

    stream = client.runs.stream(
        workflow,
        values,
        namespace=namespace,
        begun=begun,
        restarted=lambda: note("its last stage begins anew: all items come again"),
    )
    try:
        with stream:
            for item in stream:
                dump_one(item, "json" if output == "table" else output)
    except KeyboardInterrupt:
        for run in known:
            note(f"\nthe run goes on\n  see it:   flowdapt inspect run {run}")
            note(f"  stop it:  flowdapt cancel {run}")
        raise typer.Exit(INTERRUPTED) from None
