"""Commands over what is installed; none of them needs a server."""

from collections.abc import Iterable, Sequence

import typer

from flowdapt.plugins import Plugin, State
from flowdapt_cli.errors import FAILED
from flowdapt_cli.invocation import invocation
from flowdapt_cli.output import Output, dump

plugins = typer.Typer(
    add_completion=False,
    help="Show what is installed, what it offers, and what is wrong.",
    no_args_is_help=True,
)

MOST_NAMES = 4  #: of one part that a plugin offers; more are only counted


@plugins.command("list")
def list_(ctx: typer.Context, output: Output = "table") -> None:
    """List all plugins, with what each offers."""
    found = _as_served(ctx)
    if output != "table":
        return dump([plugin.to_dict() for plugin in found], output)
    from flowdapt_cli.render import table

    return table(
        [
            {
                "name": plugin.name,
                "version": plugin.version,
                "state": plugin.state.value,
                "provides": _summary(plugin.provides),
                "reason": plugin.reason,
            }
            for plugin in found
        ]
    )


@plugins.command()
def doctor(ctx: typer.Context, output: Output = "table") -> None:
    """Say what is wrong with plugins, where, and what to do; fails where something is."""
    found = _as_served(ctx)
    sick = [p for p in found if p.state in (State.QUARANTINED, State.INCOMPATIBLE)]
    if output != "table":
        dump([plugin.to_dict() | {"traceback": plugin.traceback} for plugin in sick], output)
    elif not sick:
        typer.echo(f"all is well with {len(found)} plugins")
    else:
        for plugin in sick:
            typer.echo(f"{plugin.name} {plugin.version} is {plugin.state.value}: {plugin.reason}")
            typer.echo(plugin.traceback)
    if sick:
        raise typer.Exit(FAILED)


def _as_served(ctx: typer.Context) -> Sequence[Plugin]:
    """Return all plugins as a server would have them, which the settings may tell to leave some."""
    one = invocation(ctx)
    return one.server_plugins(one.settings()).list()


def _summary(provides: Iterable[str]) -> str:
    """Return what a plugin offers, part by part."""
    parts: dict[str, list[str]] = {}
    for offer in provides:
        part, _, name = offer.partition(":")
        parts.setdefault(part, []).append(name)
    return "; ".join(
        f"{part}: {', '.join(names)}" if len(names) <= MOST_NAMES else f"{len(names)} {part}"
        for part, names in parts.items()
    )
