"""Commands over what is installed; none of them needs a server."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from flowdapt.plugins import Plugin, Plugins, State
from flowdapt_cli.errors import FAILED
from flowdapt_cli.invocation import Invocation, invocation
from flowdapt_cli.output import Output, dump, note, say

plugins = typer.Typer(
    add_completion=False,
    help="Show what is installed, what it offers, and what is wrong.",
    no_args_is_help=True,
)

MOST_NAMES = 4  #: of one part that a plugin offers; more are only counted

Name = Annotated[str, typer.Argument(metavar="NAME", help="Such as flowdapt_ray.")]
Names = Annotated[list[str], typer.Argument(metavar="NAME...", help="Such as flowdapt_ray.")]


@plugins.command("list")
def list_(
    ctx: typer.Context,
    output: Output = "table",
    *,
    cluster: Annotated[
        bool, typer.Option("--cluster", help="Ask a server what each node of its cluster has.")
    ] = False,
) -> None:
    """List all plugins, with what each offers."""
    if cluster:
        return _list_nodes(ctx, output)
    found = _as_served(invocation(ctx)).list()
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


def _list_nodes(ctx: typer.Context, output: Output) -> None:
    """Show what each node has of what was installed on the cluster."""
    with invocation(ctx).client() as client:
        nodes, sets = client.plugins.nodes(), client.plugins.sets()
    active = next((one for one in sets if "*" in one.namespaces), None)
    wanted = {d.name: d.version for d in active.distributions} if active else {}
    rows = [
        {
            "node": one.node,
            "state": "failed" if one.problem else "healthy",
            "set": active.id if active else "",
            "plugins": wanted,
            "reason": one.problem,
        }
        for one in nodes
    ]
    if output != "table":
        return dump(rows, output)
    from flowdapt_cli.render import table

    shown = ", ".join(f"{name} {version}" for name, version in wanted.items())
    return table([{**row, "plugins": shown or "none"} for row in rows])


@plugins.command()
def info(ctx: typer.Context, name: Name, output: Output = "table") -> None:
    """Show all that is known about one plugin."""
    from flowdapt_cli.dossiers import dossier, named

    known = _as_served(invocation(ctx))
    found = dossier(named(name, known.list()), known)
    return dump(found, output) if output != "table" else _show(found)


@plugins.command()
def disable(ctx: typer.Context, names: Names) -> None:
    """Leave plugins out from now on, by the settings file."""
    from flowdapt_cli import switches

    one = invocation(ctx)
    settings, known = one.settings(), one.plugins.list()
    changed = switches.disable(names, known, settings)
    _tell(changed, "disabled")
    fresh = [plugin for plugin in known if changed.get(plugin.name)]
    for remark in switches.remarks(fresh, settings, disabled=True):
        note(remark)


@plugins.command()
def enable(ctx: typer.Context, names: Names) -> None:
    """Have plugins loaded again that the settings file leaves out."""
    from flowdapt_cli import switches

    one = invocation(ctx)
    settings, known = one.settings(), one.plugins.list()
    changed = switches.enable(names, known, settings)
    _tell(changed, "enabled")
    fresh = [plugin for plugin in known if changed.get(plugin.name)]
    for remark in switches.remarks(fresh, settings, disabled=False):
        note(remark)


@plugins.command()
def doctor(
    ctx: typer.Context,
    output: Output = "table",
    again: Annotated[
        bool, typer.Option("--again", help="Try anew what was refused or found fit before.")
    ] = False,
) -> None:
    """Say what is wrong with plugins, where, and what to do; fails where something is."""
    from flowdapt_cli.diagnoses import SICK, diagnosis, meaningless, report

    one = invocation(ctx)
    found = (_anew(one) if again else _as_served(one)).list()
    sick = [plugin for plugin in found if plugin.state in SICK]
    if output != "table":
        dump([diagnosis(plugin) for plugin in sick], output)
    else:
        say("\n\n".join(map(report, sick)) or _all_is_well(found))
    for remark in meaningless(one.settings().plugins.disabled, found):
        note(remark)
    if sick:
        raise typer.Exit(FAILED)


def _as_served(one: Invocation) -> Plugins:
    """Return all plugins as a server would have them, which the settings may tell to leave some."""
    return one.server_plugins(one.settings())


def _anew(one: Invocation) -> Plugins:
    """Return them after trying anew whatever is not left out, and have the outcome kept."""
    from shutil import rmtree

    settings = one.settings()
    # The program keeps verdicts before it knows of --app-dir, and a server where that leads.
    first = Path(os.environ.get("FLOWDAPT__APP_DIR") or "~/.flowdapt").expanduser()
    for folder in (settings.app_dir, first):
        rmtree(folder / "cache", ignore_errors=True)
    return Plugins.load(
        disabled=settings.plugins.disabled,
        safe_mode=settings.plugins.safe_mode or one.safe_mode,
        cache_dir=first / "cache",
    )


def _all_is_well(found: Sequence[Plugin]) -> str:
    out = sum(plugin.state is State.DISABLED for plugin in found)
    left_out = f", of which {out} {'is' if out == 1 else 'are'} disabled" if out else ""
    return f"all is well with {len(found)} plugins{left_out}"


def _tell(changed: dict[str, bool], done: str) -> None:
    for name, new in changed.items():
        say(f"{name} {done}" if new else f"{name} is {done} already")


def _show(found: dict[str, Any]) -> None:
    """Draw what is known about a plugin, without what there is none of."""
    from flowdapt_cli.render import facts, table

    tables = {key: found.pop(key) for key in ("provides", "resources")}
    trace, lists = found.pop("traceback"), ("requires", "reacts", "files")
    shown = {**found, **{key: "\n".join(found[key]) for key in lists}}
    facts({key.replace("_", " "): value for key, value in shown.items() if value})
    for title, rows in tables.items():
        if rows:
            say("")
            table([_without_empty(row, rows) for row in rows], title=title)
    if trace:
        say(f"\n{trace.rstrip()}")


def _without_empty(row: dict[str, str], rows: Sequence[dict[str, str]]) -> dict[str, str]:
    return {key: value for key, value in row.items() if any(other[key] for other in rows)}


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
