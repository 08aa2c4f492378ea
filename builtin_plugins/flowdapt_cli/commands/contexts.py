"""Commands over names for servers; none of them asks a server."""

from typing import Annotated

import typer

from flowdapt_cli import contexts as files
from flowdapt_cli.errors import CommandError
from flowdapt_cli.invocation import invocation
from flowdapt_cli.output import Output, dump, note

contexts = typer.Typer(
    add_completion=False,
    help="Name servers, with the token that each knows you by, and choose one.",
    no_args_is_help=True,
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Such as staging.")]


@contexts.command("list")
def list_(output: Output = "table") -> None:
    """List the contexts; the current one is marked. Tokens are never shown."""
    found = files.read()
    rows = [
        {
            "current": name == found.current,
            "name": name,
            "server": one.server,
            "token": bool(one.token),
        }
        for name, one in found.known.items()
    ]
    if output != "table":
        return dump(rows, output)
    if not rows:
        return note("no contexts; add one: flowdapt contexts add NAME URL")
    from flowdapt_cli.render import table

    words: dict[str, tuple[str, str]] = {"current": ("", "*"), "token": ("no", "yes")}
    return table(
        [
            {key: words[key][bool(value)] if key in words else value for key, value in row.items()}
            for row in rows
        ]
    )


@contexts.command()
def add(
    ctx: typer.Context,
    name: Name,
    server: Annotated[
        str, typer.Argument(metavar="URL", help="Such as https://flowdapt.example:8080.")
    ],
    *,
    ask: Annotated[
        bool,
        typer.Option("--ask-token", help="Ask for the token, or read it from standard input."),
    ] = False,
    use: Annotated[bool, typer.Option("--use", help="Use it from now on.")] = False,
) -> None:
    """Add a context, or replace the one of that name.

    The token is that of --token or FLOWDAPT_TOKEN, if there is one.
    """
    from flowdapt.client import Client
    from flowdapt_cli.inputs import hidden

    if "@" in server:
        raise CommandError("an address must not hold a token here; give it by --ask-token")
    with Client(server) as client:  # which knows addresses that are none
        address = client.address
    token = hidden(f"token of {name}") if ask else invocation(ctx).token
    changed = files.read().with_one(name, files.Context(address, token))
    if use:
        changed = changed.using(name)
    changed.write()
    typer.echo(f"context {name} added")
    if changed.current != name:
        note(f"use it: flowdapt contexts use {name}")


@contexts.command()
def use(name: Name) -> None:
    """Ask the server of a context from now on, where no other is named."""
    files.read().using(name).write()
    typer.echo(f"context {name} is used from now on")


@contexts.command()
def remove(name: Name) -> None:
    """Forget a context."""
    files.read().without(name).write()
    typer.echo(f"context {name} removed")
