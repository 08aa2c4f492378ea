"""Commands over what a server keeps: resources of every kind, and runs."""

from typing import Annotated, Literal

import typer

from flowdapt_cli.errors import FAILED
from flowdapt_cli.invocation import invocation
from flowdapt_cli.output import Output, dump, note, plain

KIND = "workflow, config, run or another kind; also in the plural."
Paths = Annotated[
    list[str] | None,
    typer.Option("--path", "-p", metavar="PATH", help="A file, a folder, or - for stdin."),
]
MorePaths = Annotated[list[str] | None, typer.Argument(metavar="PATH", show_default=False)]
Listed = Annotated[
    Literal["table", "json", "yaml", "name"],
    typer.Option("--output", "-o", help="How to print it; as names alone, a line each."),
]


def apply(
    ctx: typer.Context,
    path: Paths = None,
    paths: MorePaths = None,
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Store nothing; show what would change.")
    ] = False,
    output: Output = "table",
) -> None:
    """Create or change the resources that stand in files.

    All files are checked first, and nothing is sent where one of them is wrong.
    """
    from flowdapt_cli import diffs, documents
    from flowdapt_cli.kinds import kinds
    from flowdapt_cli.sending import send

    if not (named := [*(path or ()), *(paths or ())]):
        ctx.fail("name files or folders: flowdapt apply -p PATH")
    checked = documents.read(named, kinds(invocation(ctx).plugins))
    verdicts = []
    with invocation(ctx).client() as client:
        for one in checked:
            applied = send(client, one, dry_run=dry_run)
            kind, name = applied.resource.kind, applied.resource.name
            verdicts.append({"kind": kind, "name": name, "verdict": applied.verdict})
            text = ""
            if dry_run:
                where = str(one.document.where)
                text = diffs.difference(applied.before, applied.resource, "as it is", where)
                verdicts[-1]["diff"] = text
            if output == "table":
                typer.echo(f"{one.title} {applied.verdict}{' (dry run)' if dry_run else ''}")
                diffs.show(text if applied.before else "")
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
    *,
    state: Annotated[
        list[str] | None,
        typer.Option(metavar="STATE", help="Only runs in this state, such as failed; repeatable."),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Only runs since then: 90m, 2h, 3d ago, or a time."),
    ] = None,
    limit: Annotated[int, typer.Option(metavar="N", help="The most runs to list; 0 for all.")] = 10,
    output: Listed = "table",
) -> None:
    """List what a server has, or show one of it."""
    from flowdapt_cli import listings, times

    states = [one for given in state or () for one in given.split(",")]
    wanted = listings.Wanted(states, times.moment(since) if since else None, limit)
    with invocation(ctx).client() as client:
        found, rows = listings.get(client, invocation(ctx).plugins, kind, name, wanted)
    if output == "name":
        return typer.echo("".join(f"{row['name']}\n" for row in rows), nl=False)
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
    *,
    items: Annotated[
        str | None,
        typer.Option("--items", metavar="STAGE", help="Show the elements of a stage of the run."),
    ] = None,
    slowest: Annotated[
        int | None,
        typer.Option("--slowest", metavar="N", min=1, help="Of them, those that took longest."),
    ] = None,
    failed: Annotated[
        bool, typer.Option("--failed", help="Of them, only those that failed.")
    ] = False,
    output: Output = "table",
) -> None:
    """Show one resource or run whole; a run with its stages, when each of them did what, what
    that took, and why it failed.

    With --items, show of each element of a parameterized stage what became of it, how often it was
    tried, how long the last attempt took, and what it raised.
    """
    from flowdapt_cli import kinds, reports

    if items is None and (slowest or failed):
        ctx.fail("--slowest and --failed are of elements: name their stage with --items STAGE")
    if items is not None and not kinds.is_run(kind):
        ctx.fail(f"only runs have elements: flowdapt inspect run NAME --items {items}")
    with invocation(ctx).client() as client:
        if items is not None:
            from flowdapt_cli.elements import show

            return show(client, name, items, slowest=slowest, failed=failed, form=output)
        if kinds.is_run(kind):
            run, stages = client.runs.get(name), client.runs.stages(name)
            history = plain(client.runs.history(name))
            return reports.inspect(plain(run), [*map(plain, stages)], history, output)
        found = kinds.find(client, kinds.kind_named(invocation(ctx).plugins, kind), name)
    return dump(plain(found), "yaml" if output == "table" else output)


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
