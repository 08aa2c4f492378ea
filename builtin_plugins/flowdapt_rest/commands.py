"""Commands over tokens; they work on the storage itself, with or without a server on it."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Annotated, Any, Literal, TypeVar

import typer

from flowdapt_rest.roles import Role
from flowdapt_rest.tokens import Token, TokenRefused, Tokens

tokens = typer.Typer(
    add_completion=False,
    help="Make, list and revoke tokens, by which a server knows its callers.",
    no_args_is_help=True,
)

Output = Annotated[
    Literal["table", "json", "yaml"], typer.Option("--output", "-o", help="How to print it.")
]
UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
LONGEST = timedelta(days=36500)  #: that a token is good for; later times may not exist

_T = TypeVar("_T")


@tokens.command()
def create(
    ctx: typer.Context,
    *,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Who has it, such as ci.")],
    role: Annotated[
        Literal["read", "operate", "admin"],
        typer.Option(help="What it may do: see; also run, cancel and drain; or everything."),
    ],
    expires: Annotated[
        str | None, typer.Option(metavar="TIME", help="For how long, such as 12h or 30d.")
    ] = None,
    output: Output = "table",
) -> None:
    """Make a token and print it: once, as only a digest of it is kept."""
    lifetime = None if expires is None else _lifetime(expires)

    async def make(those: Tokens) -> tuple[Token, str]:
        made = await those.create(name, Role(role), lifetime=lifetime)
        await _recorded(those, "create_token", made[0])
        return made

    token, text = _with(ctx, make)
    if all(other.id != token.id for other in _with(ctx, Tokens.list)):
        target = ctx.obj.settings().database.target
        raise TokenRefused(
            f"the storage {target!r} keeps nothing for other processes, such as a server, and so "
            "no token either; choose another with --override database=sqlite"
        )
    if output == "table":
        typer.echo(text)
    else:
        _dump(token.facts() | {"token": text}, output)
    typer.echo("it is not shown again; send it as 'Authorization: Bearer TOKEN'", err=True)


@tokens.command("list")
def list_(ctx: typer.Context, output: Output = "table") -> None:
    """List the tokens; what was printed when they were made is not among it."""
    found = _with(ctx, Tokens.list)
    if output != "table":
        return _dump([token.facts() for token in found], output)
    return _table(found)


@tokens.command()
def revoke(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name or id of a token.")],
    output: Output = "table",
) -> None:
    """Take a token back; from now on, servers refuse it."""

    async def take_back(those: Tokens) -> Token:
        taken = await those.revoke(name)
        await _recorded(those, "revoke_token", taken)
        return taken

    token = _with(ctx, take_back)
    if output != "table":
        return _dump(token.facts(), output)
    return typer.echo(f"token {token.name} revoked")


async def _recorded(those: Tokens, operation: str, token: Token) -> None:
    from flowdapt_rest.audit import record_here  # with all that routes need

    await record_here(those.storage, operation, token)


def _with(ctx: typer.Context, work: Callable[[Tokens], Awaitable[_T]]) -> _T:
    """Return what ``work`` does with the tokens in the storage that the settings name."""
    from flowdapt.server import made

    # The program's own object, of a plugin that cannot be imported from here.
    settings = ctx.obj.settings()
    plugins = ctx.obj.server_plugins(settings)

    async def work_on_storage() -> _T:
        storage = made(plugins, "storages", settings.database, app_dir=settings.app_dir)
        try:
            await storage.start()
            return await work(Tokens(storage))
        finally:
            await storage.stop()

    return asyncio.run(work_on_storage())


def _lifetime(text: str) -> timedelta:
    match = re.fullmatch(r"(\d{1,9})([mhdw])", text)
    lifetime = timedelta(**{UNITS[match[2]]: int(match[1])}) if match else timedelta()
    if not timedelta() < lifetime <= LONGEST:
        raise typer.BadParameter(f"{text!r} is no time such as 90m, 12h, 30d or 52w")
    return lifetime


def _table(found: Sequence[Token]) -> None:
    from rich.console import Console
    from rich.table import Table

    drawn = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in ("name", "role", "id", "created", "expires"):
        drawn.add_column(column, overflow="fold")
    for token in found:
        expires = f"{token.expires_at:%Y-%m-%d %H:%M}" if token.expires_at else "never"
        expires = "expired" if token.expired else expires
        drawn.add_row(token.name, token.role, token.id, f"{token.created_at:%Y-%m-%d}", expires)
    Console(highlight=False, markup=False, emoji=False).print(drawn)


def _dump(value: Any, form: str) -> None:
    if form == "json":
        typer.echo(json.dumps(value, indent=2))
        return
    import yaml

    typer.echo(yaml.safe_dump(value, sort_keys=False).rstrip())
