"""Commands over objects; none of them shows a value."""

from typing import Annotated

import typer

from flowdapt_cli.errors import FAILED
from flowdapt_cli.invocation import invocation
from flowdapt_cli.output import Output, dump, note, plain

objects = typer.Typer(
    add_completion=False,
    help="Show which objects stages share, how large they are, and remove some.",
    no_args_is_help=True,
)

KEY = "What it was put under."
Namespace = Annotated[
    str, typer.Option("--namespace", "-n", metavar="NAME", help="Where it is; else default.")
]


@objects.command()
def ls(
    ctx: typer.Context,
    *,
    namespace: Annotated[
        str | None,
        typer.Option("--namespace", "-n", metavar="NAME", help="Only what is in this one."),
    ] = None,
    prefix: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Only those whose keys begin with this.")
    ] = None,
    place: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PLACE", help="Only those there: memory, disk or artifact; repeatable."
        ),
    ] = None,
    limit: Annotated[
        int, typer.Option(metavar="N", help="The most objects to list; 0 for all.")
    ] = 0,
    output: Output = "table",
) -> None:
    """List the objects of a server."""
    most = limit if limit > 0 else None
    with invocation(ctx).client() as client:
        listed = client.objects.list(
            namespace=namespace, prefix=prefix, place=place or (), limit=most
        )
        found = [plain(one) for one in listed]
    if output != "table":
        return dump(found, output)
    if not found:
        return note("no objects")
    from flowdapt_cli.inventory import row
    from flowdapt_cli.render import table

    return table([row(one) for one in found])


@objects.command()
def info(
    ctx: typer.Context,
    key: Annotated[str, typer.Argument(metavar="KEY", help=KEY)],
    namespace: Namespace = "default",
    output: Output = "table",
) -> None:
    """Show what is known of an object, for each place where it is."""
    with invocation(ctx).client() as client:
        found = [plain(one) for one in client.objects.info(key, namespace=namespace)]
    if output != "table":
        return dump(found, output)
    from flowdapt_cli.inventory import facts_of
    from flowdapt_cli.render import facts

    for number, one in enumerate(found):
        if number:
            typer.echo()
        facts(facts_of(one))
    return None


@objects.command()
def rm(
    ctx: typer.Context,
    keys: Annotated[list[str], typer.Argument(metavar="KEY", help=KEY)],
    namespace: Namespace = "default",
) -> None:
    """Remove objects, wherever they are; those who use one go on with it."""
    from flowdapt.errors import ResourceNotFound

    missing = False
    with invocation(ctx).client() as client:
        for key in keys:
            try:
                client.objects.delete(key, namespace=namespace)
            except ResourceNotFound as error:
                note(f"Error: {error}")
                missing = True
            else:
                typer.echo(f"object {namespace}/{key} deleted")
    if missing:
        raise typer.Exit(FAILED)


@objects.command()
def stats(ctx: typer.Context, output: Output = "table") -> None:
    """Show how full the memory is, and what the objects of each namespace come to."""
    with invocation(ctx).client() as client:
        found = plain(client.objects.stats())
    if output != "table":
        return dump(found, output)
    from flowdapt_cli.inventory import sums, usage
    from flowdapt_cli.render import facts, table

    facts(usage(found))
    if found["namespaces"]:
        typer.echo()
        table(sums(found))
    return None
