"""Commands over what a resource was."""

from typing import Annotated, Any

import typer

from flowdapt_cli.errors import CommandError
from flowdapt_cli.invocation import invocation
from flowdapt_cli.output import Output, dump, note, plain, say

Kind = Annotated[str, typer.Argument(metavar="KIND", help="Such as workflow or config.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Its name or uid.")]


def history(ctx: typer.Context, kind: Kind, name: Name, output: Output = "table") -> None:
    """Show every change of a resource, oldest first: when it was made, and by whom."""
    revisions = _revisions(ctx, kind, name)
    if output != "table":
        return dump([plain(revision) for revision in revisions], output)
    from flowdapt_cli.render import table
    from flowdapt_cli.times import clock

    return table(
        [
            {
                "generation": revision["generation"],
                "change": revision["change"],
                "time": clock(revision["time"]),
                "by": revision.get("actor"),
            }
            for revision in map(plain, revisions)
        ]
    )


def diff(
    ctx: typer.Context,
    kind: Kind,
    name: Name,
    *,
    old: Annotated[
        int | None,
        typer.Option("--from", metavar="N", help="A generation; else the one before the other."),
    ] = None,
    new: Annotated[
        int | None, typer.Option("--to", metavar="N", help="A generation; else the last one.")
    ] = None,
    output: Output = "table",
) -> None:
    """Show what changed in a resource from one generation to another."""
    from flowdapt_cli import diffs

    revisions = _revisions(ctx, kind, name)
    last = len(revisions) - 1 if new is None else _index(revisions, new)
    first = last - 1 if old is None else _index(revisions, old)
    if first < 0:
        return note(f"generation {revisions[last].generation} is the first")
    was, now = revisions[first], revisions[last]
    names = [f"generation {one.generation}" for one in (was, now)]
    text = diffs.difference(was.resource, now.resource, *names)
    if output != "table":
        return dump({"from": was.generation, "to": now.generation, "diff": text}, output)
    if not text:
        return note("nothing changed")
    return diffs.show(text)


def rollback(
    ctx: typer.Context,
    kind: Kind,
    name: Name,
    *,
    to: Annotated[
        int | None, typer.Option(metavar="N", help="A generation; else the one before the last.")
    ] = None,
    output: Output = "table",
) -> None:
    """Bring back what a resource was, as a new change of it."""
    from flowdapt_cli import kinds

    model = kinds.kind_named(invocation(ctx).plugins, kind)
    with invocation(ctx).client() as client, kinds.near_names(client, model):
        found = client.resources(model).rollback(name, to=to)
    if output != "table":
        return dump(plain(found), output)
    what = f"generation {to}" if to is not None else "the generation before"
    return say(
        f"{found.kind} {found.name} is as {what} again, as generation {found.metadata.generation}"
    )


def _revisions(ctx: typer.Context, kind: str, name: str) -> list[Any]:
    from flowdapt_cli import kinds

    model = kinds.kind_named(invocation(ctx).plugins, kind)
    with invocation(ctx).client() as client, kinds.near_names(client, model):
        return [*client.resources(model).history(name)]


def _index(revisions: list[Any], generation: int) -> int:
    known = [revision.generation for revision in revisions]
    if generation not in known:
        there = ", ".join(map(str, known))
        raise CommandError(f"there is no generation {generation}; there are {there}")
    return known.index(generation)
