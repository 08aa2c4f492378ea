"""Commands over triggers: how they stand, that they pause or fire, and what they would do."""

from typing import Annotated

import typer

from flowdapt_cli.errors import FAILED
from flowdapt_cli.invocation import invocation
from flowdapt_cli.output import Output, dump, note, plain

triggers = typer.Typer(
    add_completion=False,
    help="Show how triggers stand, pause them, fire them, and try their rules.",
    no_args_is_help=True,
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The trigger's name or uid.")]


@triggers.command("list")
def list_(ctx: typer.Context, output: Output = "table") -> None:
    """List when triggers fired, when they are due next, and what is wrong with them."""
    with invocation(ctx).client() as client:
        found = [plain(state) for state in client.triggers.list()]
    if output != "table":
        return dump(found, output)
    if not found:
        return note("no triggers")
    from flowdapt_cli.firings import row
    from flowdapt_cli.render import table

    return table([row(state) for state in found])


@triggers.command()
def show(
    ctx: typer.Context,
    name: Name,
    *,
    limit: Annotated[int, typer.Option(metavar="N", help="The most firings to show.")] = 20,
    output: Output = "table",
) -> None:
    """Show how a trigger stands, and what it did, the newest first."""
    with invocation(ctx).client() as client:
        found = plain(client.triggers.get(name, limit=limit))
    if output != "table":
        return dump(found, output)
    from flowdapt_cli.firings import facts_of, firing_row
    from flowdapt_cli.render import facts, table

    facts(facts_of(found))
    if found["firings"]:
        typer.echo()
        table([firing_row(firing) for firing in found["firings"]])
    return None


@triggers.command()
def pause(ctx: typer.Context, name: Name) -> None:
    """Have a trigger not fire; what it misses is not made up."""
    with invocation(ctx).client() as client:
        client.triggers.pause(name)
    typer.echo(f"trigger {name} paused")


@triggers.command()
def resume(ctx: typer.Context, name: Name) -> None:
    """Have a trigger fire again, for what comes from now on."""
    with invocation(ctx).client() as client:
        client.triggers.resume(name)
    typer.echo(f"trigger {name} resumed")


@triggers.command()
def fire(ctx: typer.Context, name: Name) -> None:
    """Do what a trigger does, now."""
    with invocation(ctx).client() as client:
        run = client.triggers.fire(name)
    typer.echo(f"trigger {name} fired" + (f": run {run}" if run else ""))


@triggers.command("test")
def try_(
    ctx: typer.Context,
    rule: Annotated[
        str, typer.Argument(metavar="RULE", help="The name of a trigger, or a file with one.")
    ],
    *,
    event: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="A JSON file with an event; - for stdin."),
    ] = None,
    since: Annotated[
        str, typer.Option(metavar="TIME", help="Try all since then: 90m, 2h, 3d ago, or a time.")
    ] = "1h",
    output: Output = "table",
) -> None:
    """Show what a trigger would have done, on an event or since a time; nothing is done."""
    from flowdapt_cli import firings

    plugins = invocation(ctx).plugins
    asked = firings.asked(plugins, rule, event=event, since=since)
    with invocation(ctx).client() as client:
        trial = plain(client.triggers.attempt(**asked))
    if output != "table":
        return dump(trial, output)
    from flowdapt_cli.render import table

    if trial["firings"]:
        table([firings.tried_row(one) for one in trial["firings"]])
    else:
        note("it would not have fired")
        if count := trial["tried"]:
            note("1 event was tried" if count == 1 else f"{count:,} events were tried")
    if trial["more"]:
        note(f"there were more times; these are the last {len(trial['firings']):,}")
    return None


def backfill(
    ctx: typer.Context,
    workflow: Annotated[str, typer.Argument(metavar="WORKFLOW", help="Its name or uid.")],
    *,
    begin: Annotated[str, typer.Option("--from", metavar="TIME", help="Where the first begins.")],
    end: Annotated[str, typer.Option("--to", metavar="TIME", help="Where the last ends.")],
    every: Annotated[
        str, typer.Option("--every", metavar="DURATION", help="How long each is: 1h, 1d.")
    ],
    at_once: Annotated[
        int, typer.Option("--at-once", metavar="N", min=1, help="Runs in progress, at most.")
    ] = 4,
    output: Output = "table",
) -> None:
    """Run a workflow once for each period of a time, with `start` and `end` as its input.

    Given again, the command goes on where it was: a period that has a run is not run again. Times
    are as clocks here show them, unless they have an offset; one that is so long ago, such as 3d,
    is rounded down to whole periods.
    """
    from flowdapt_cli.backfills import Backfill, periods

    wanted = periods(begin, end, every)
    with invocation(ctx).client() as client:
        done = Backfill(client, workflow, at_once=at_once).run(wanted)
    if output != "table":
        dump(done, output)
    if any(one["state"] != "finished" for one in done):
        raise typer.Exit(FAILED)
