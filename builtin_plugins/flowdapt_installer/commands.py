"""The commands ``flowdapt plugins install`` and those beside it, for a server or without one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from flowdapt_installer import desks

if TYPE_CHECKING:
    from flowdapt.client import PluginChange

FAILED, WRONG = 1, 2  #: what the program ends with

Names = Annotated[
    list[str],
    typer.Argument(
        metavar="PLUGIN...", help="A requirement, a wheel, a folder, or an address of git."
    ),
]
Namespace = Annotated[
    str, typer.Option(metavar="NAME", help="Only for runs in this namespace.", show_default=False)
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")]
Apply = Annotated[bool, typer.Option("--apply", help="Apply the resources that plugins bring.")]
Restart = Annotated[
    bool, typer.Option("--restart", help="Drain the server afterwards, and start it anew.")
]
Json = Annotated[Literal["table", "json"], typer.Option("--output", "-o", help="How to print it.")]


def install(
    ctx: typer.Context,
    names: Names,
    namespace: Namespace = "",
    *,
    apply: Apply = False,
    dry_run: DryRun = False,
    restart: Restart = False,
    output: Json = "table",
) -> None:
    """Put plugins on every node of the cluster, all or nothing; runs in progress keep theirs.

    A requirement can be pinned by a hash: 'orchard==1.0 --hash=sha256:...'.
    """
    facts = {"namespace": namespace, "apply": apply, "dry_run": dry_run, "restart": restart}
    _change(ctx, "install", names, facts, output)


def upgrade(
    ctx: typer.Context,
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PLUGIN...]", help="By default all that were installed by name."),
    ] = None,
    namespace: Namespace = "",
    *,
    apply: Apply = False,
    dry_run: DryRun = False,
    restart: Restart = False,
    output: Json = "table",
) -> None:
    """Put newer versions of plugins on every node; what they came from is asked anew."""
    facts = {"namespace": namespace, "apply": apply, "dry_run": dry_run, "restart": restart}
    _change(ctx, "upgrade", names or (), facts, output)


def remove(
    ctx: typer.Context,
    names: Annotated[list[str], typer.Argument(metavar="NAME...")],
    namespace: Namespace = "",
    *,
    dry_run: DryRun = False,
    restart: Restart = False,
    output: Json = "table",
) -> None:
    """Take plugins from the cluster, with what only they needed."""
    facts = {"namespace": namespace, "dry_run": dry_run, "restart": restart}
    _change(ctx, "remove", names, facts, output)


def rollback(
    ctx: typer.Context,
    to: Annotated[
        str | None, typer.Option(metavar="SET", help="A set's id, or how it begins; else the last.")
    ] = None,
    namespace: Namespace = "",
    *,
    dry_run: DryRun = False,
    restart: Restart = False,
    output: Json = "table",
) -> None:
    """Go back to the plugins that were active before; runs in progress keep theirs."""
    facts = {"namespace": namespace, "dry_run": dry_run, "restart": restart}
    _change(ctx, "rollback", [to] if to else [], facts, output)


def verify(ctx: typer.Context, namespace: Namespace = "", output: Json = "table") -> None:
    """Compare what each node has with what was installed, file by file; fails where it differs."""
    with desks.desk(ctx) as desk:
        found = desk.nodes(namespace)
    if output == "json":
        typer.echo(json.dumps([{"node": n, "problem": p} for n, p in found.items()], indent=2))
    else:
        for node, problem in found.items():
            typer.echo(f"{node}: {problem or 'has all of it'}")
    if any(found.values()):
        raise typer.Exit(FAILED)


def history(ctx: typer.Context, output: Json = "table") -> None:
    """Show what was changed when, by whom, and how it went, the newest first."""
    with desks.desk(ctx) as desk:
        found = desk.changes()[::-1]
    if output == "json":
        typer.echo(json.dumps([one.model_dump(mode="json") for one in found], indent=2))
        return
    _table(
        ["id", "when", "what", "by", "state", "set"],
        [
            [
                one.id,
                f"{one.started_at:%Y-%m-%d %H:%M:%S}",
                _text(one),
                one.by,
                f"{one.state} (dry run)" if one.dry_run else one.state,
                one.active,
            ]
            for one in found
        ],
    )
    for one in found:
        if one.error:
            typer.echo(f"{one.id} at {one.step}: {one.error}")


def sets(ctx: typer.Context, output: Json = "table") -> None:
    """Show which distributions are active, and which sets there are to go back to."""
    with desks.desk(ctx) as desk:
        found = desk.sets()
    if output == "json":
        typer.echo(json.dumps([one.model_dump(mode="json") for one in found], indent=2))
        return
    _table(
        ["id", "active", "made", "distributions"],
        [
            [
                one.id,
                ", ".join(one.namespaces),
                f"{one.created_at:%Y-%m-%d %H:%M:%S}",
                ", ".join(f"{d.name} {d.version}" for d in one.distributions),
            ]
            for one in found
        ],
    )


# What is shown -------------------------------------------------------------------------------


def _change(
    ctx: typer.Context, what: Any, names: Sequence[str], facts: dict[str, Any], output: str
) -> None:
    quiet = output == "json"
    with desks.desk(ctx) as desk:
        ended = desk.change(what, names, facts, (lambda _: None) if quiet else _Progress())
    if quiet:
        typer.echo(json.dumps(ended.model_dump(mode="json"), indent=2))
    else:
        _end(ended)
    if ended.state != "done":
        raise typer.Exit(FAILED)


class _Progress:
    """Says each step once, as it begins."""

    def __init__(self) -> None:
        self._said = ""

    def __call__(self, change: PluginChange) -> None:
        said = f"{change.step} ..."
        if change.step == "collect" and change.notes:
            said = f"{change.step}: {change.notes[-1]}"
        if said != self._said and change.state == "running":
            typer.echo(said, err=True)
            self._said = said


def _end(change: PluginChange) -> None:
    for node, problem in change.nodes.items():
        typer.echo(f"  {node}: {problem or 'ready'}")
    for line in _difference(change):
        typer.echo(line)
    for note in change.notes:
        if not note.startswith("collected "):
            typer.echo(f"  {note}")
    if change.error:
        typer.echo(f"Error: {_text(change)} {change.state}: {change.error}", err=True)
    elif change.dry_run:
        typer.echo("nothing was changed: this was a dry run")
    elif not (change.added or change.removed):
        typer.echo(f"nothing to do: {change.active or 'no plugin set'} is active already")
    else:
        typer.echo(_active(change))


def _difference(change: PluginChange) -> Iterator[str]:
    """Yield what comes and what goes, unless nothing of it came about."""
    if not change.error:
        yield from (f"  - {name} {version}" for name, version in change.removed.items())
        yield from (f"  + {name} {version}" for name, version in change.added.items())


def _active(change: PluginChange) -> str:
    """Say what runs begin with from now on."""
    where = f" in namespace {change.namespace}" if change.namespace else ""
    if change.namespace and not change.active:
        return f"new runs{where} have the plugins of all others again"
    return f"{change.active or 'no plugin set'} is active{where} for new runs"


def _text(change: PluginChange) -> str:
    where = f" in namespace {change.namespace}" if change.namespace else ""
    return f"{change.what} {' '.join(map(_short, change.names))}".rstrip() + where


def _short(name: str) -> str:
    return name.partition("#")[2] if name.startswith("wheel:") else name


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    made = Table(*heads, box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for row in rows:
        made.add_row(*map(str, row))
    Console(soft_wrap=False).print(made)


Shown = Callable[["PluginChange"], None]
