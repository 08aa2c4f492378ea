"""Commands over secrets; none of them ever shows a value."""

from typing import Annotated

import typer

from flowdapt_cli.invocation import invocation
from flowdapt_cli.output import Output, dump, note, plain

secrets = typer.Typer(
    add_completion=False, help="List, set and delete secrets.", no_args_is_help=True
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="As in $secret{NAME}.")]


@secrets.command("list")
def list_(ctx: typer.Context, output: Output = "table") -> None:
    """List which secrets a server has, without their values."""
    with invocation(ctx).client() as client:
        found = [plain(secret) for secret in client.secrets.list()]
    if output != "table":
        return dump(found, output)
    if not found:
        return note("no secrets")
    from flowdapt_cli.render import table
    from flowdapt_cli.times import age

    return table(
        [
            {
                "name": secret["name"],
                "created": age(secret["created_at"]),
                "changed": age(secret["updated_at"]),
            }
            for secret in found
        ]
    )


@secrets.command("set")
def set_(ctx: typer.Context, name: Name) -> None:
    """Keep a secret, in place of an earlier one of that name.

    Its value is asked for, or read from standard input without the last line end: what stands in a
    command can be seen by others and is remembered by shells.
    """
    from flowdapt_cli.inputs import hidden

    value = hidden(f"value of {name}")
    with invocation(ctx).client() as client:
        client.secrets.set(name, value)
    typer.echo(f"secret {name} set")


@secrets.command()
def delete(ctx: typer.Context, name: Name) -> None:
    """Forget a secret."""
    with invocation(ctx).client() as client:
        client.secrets.delete(name)
    typer.echo(f"secret {name} deleted")
