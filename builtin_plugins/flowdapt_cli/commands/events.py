"""Commands that show what happens on a server."""

from typing import Annotated, Any

import typer

from flowdapt_cli.invocation import invocation
from flowdapt_cli.output import Output, dump, dump_one, note, plain, say, until_interrupted

AWAY_SECONDS = None  #: somebody who watches a server waits until it is back


def events(
    ctx: typer.Context,
    *,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what happens, until Ctrl-C.")
    ] = False,
    workflow: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only of runs of this workflow.")
    ] = None,
    run: Annotated[str | None, typer.Option(metavar="RUN", help="Only of this run.")] = None,
    types: Annotated[
        list[str] | None,
        typer.Option("--type", metavar="TYPE", help="Only of this type; repeatable."),
    ] = None,
    after: Annotated[
        int | None,
        typer.Option(metavar="POSITION", help="Only what came behind this position, all of it."),
    ] = None,
    limit: Annotated[
        int, typer.Option(metavar="N", help="The most to list, the last ones; 0 for all.")
    ] = 50,
    output: Output = "table",
) -> None:
    """List what happened on a server, or with --follow show it as it happens.

    A type may be given by its last word, such as stage_changed. With --follow, JSON is one object a
    line; the position of the last one is where to go on with --after.
    """
    from flowdapt_cli import happenings

    wanted: dict[str, Any] = {
        "workflow": workflow,
        "run": run,
        "types": happenings.types(types or ()),
    }
    with invocation(ctx).client() as client, until_interrupted():
        lines = happenings.Lines(client)
        if follow:
            calls: dict[str, Any] = {"missed": happenings.missed, "away": AWAY_SECONDS}
            for event in client.events.follow(**wanted, after=after, **calls):
                if output == "table":
                    say(lines.of(event))
                else:
                    dump_one(plain(event), output)
            return None
        if limit > 0 and after is None:
            found = [*client.events.list(**wanted, order="newest", limit=limit)][::-1]
        else:
            found = [*client.events.list(**wanted, after=after or 0)]
        if output != "table":
            return dump([plain(event) for event in found], output)
        for event in found:
            say(lines.of(event))
    return None if found else note("no events")


def top(
    ctx: typer.Context,
    *,
    once: Annotated[bool, typer.Option("--once", help="Print one table, and end.")] = False,
    workflow: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only runs of this workflow.")
    ] = None,
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="The most runs to show.")] = 20,
    output: Output = "table",
) -> None:
    """Watch the runs of a server until Ctrl-C: those that go on, and the last that ended.

    Without a terminal, and for scripts, it is one table.
    """
    from flowdapt_cli.board import Board, watch
    from flowdapt_cli.render import console, table

    with invocation(ctx).client() as client:
        board = Board(client, workflow, limit)
        if output == "table" and not once and console().is_terminal:
            with until_interrupted():
                return watch(board)
        board.load()
        if output != "table":
            return dump(board.data(), output)
    rows = board.rows()
    return table(rows) if rows else note("no runs")
