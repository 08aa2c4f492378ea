"""Commands over what a server keeps: resources of every kind, and runs."""

from typing import Annotated

import typer

from flowdapt_cli.errors import FAILED
from flowdapt_cli.invocation import invocation
from flowdapt_cli.output import Output, dump, note

KIND = "workflow, config, run or another kind; also in the plural."
Paths = Annotated[
    list[str] | None,
    typer.Option("--path", "-p", metavar="PATH", help="A file, a folder, or - for stdin."),
]
MorePaths = Annotated[list[str] | None, typer.Argument(metavar="PATH", show_default=False)]


def apply(
    ctx: typer.Context, path: Paths = None, paths: MorePaths = None, output: Output = "table"
) -> None:
    """Create or change the resources that stand in files.

    All files are checked first, and nothing is sent where one of them is wrong.
    """
    from flowdapt_cli import documents
    from flowdapt_cli.kinds import kinds
    from flowdapt_cli.sending import send

    if not (named := [*(path or ()), *(paths or ())]):
        ctx.fail("name files or folders: flowdapt apply -p PATH")
    checked = documents.read(named, kinds(invocation(ctx).plugins))
    verdicts = []
    with invocation(ctx).client() as client:
        for one in checked:
            verdicts.append(send(client, one))
            if output == "table":
                typer.echo("{kind} {name} {verdict}".format(**verdicts[-1]))
    if output != "table":
        dump(verdicts, output)
    elif not checked:
        note("no resources found")


def get(
    ctx: typer.Context,
    kind: Annotated[str, typer.Argument(metavar="KIND", help=KIND)],
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="Only this one; after runs, the runs' workflow."),
    ] = None,
    limit: Annotated[int, typer.Option(metavar="N", help="The most runs to list; 0 for all.")] = 10,
    output: Output = "table",
) -> None:
    """List what a server has, or show one of it."""
    from flowdapt_cli import listings

    with invocation(ctx).client() as client:
        found, rows = listings.get(client, invocation(ctx).plugins, kind, name, limit)
    if output != "table":
        return dump(found, output)
    if not rows:
        return note(f"no {kind}")
    from flowdapt_cli.render import table

    return table(rows)


def inspect(
    ctx: typer.Context,
    kind: Annotated[str, typer.Argument(metavar="KIND", help=KIND)],
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its name or uid.")],
    output: Output = "table",
) -> None:
    """Show one resource or run whole; a run with its stages, and why it failed."""
    from flowdapt_cli import kinds, reports

    with invocation(ctx).client() as client:
        if kinds.is_run(kind):
            run, stages = client.run(name), client.stages(name)
            return reports.inspect(run, stages, output)
        found = kinds.find(client, kinds.kind_named(invocation(ctx).plugins, kind), name)
    return dump(found, "yaml" if output == "table" else output)


def delete(
    ctx: typer.Context,
    kind: Annotated[str | None, typer.Argument(metavar="KIND", help=KIND)] = None,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="Names or uids.")
    ] = None,
    path: Paths = None,
) -> None:
    """Remove resources or runs by name, or the resources that stand in files."""
    from flowdapt_cli import deletions

    if bool(path) == bool(kind) or (kind and not names):
        ctx.fail("name a kind and names, or files: flowdapt delete KIND NAME, or -p PATH")
    plugins = invocation(ctx).plugins
    if kind:
        targets = deletions.named(plugins, kind, names or ())
    else:
        targets = deletions.in_files(plugins, path or ())
    with invocation(ctx).client() as client:
        found = [deletions.delete(client, *one) for one in targets]
    if not all(found):
        raise typer.Exit(FAILED)
