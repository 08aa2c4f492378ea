"""Commands over artifacts: which there are, and their files here and there."""

from pathlib import Path
from typing import Annotated

import typer

from flowdapt_cli.errors import FAILED, CommandError
from flowdapt_cli.invocation import invocation
from flowdapt_cli.output import Output, dump, note, plain

artifacts = typer.Typer(
    add_completion=False,
    help="List artifacts, bring their files here and there, and remove some.",
    no_args_is_help=True,
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The artifact's name.")]
Namespace = Annotated[
    str, typer.Option("--namespace", "-n", metavar="NAME", help="Where it is; else default.")
]
Version = Annotated[
    int | None, typer.Option(metavar="N", help="An earlier version; else the newest.")
]


@artifacts.command()
def ls(
    ctx: typer.Context,
    *,
    namespace: Annotated[
        str | None,
        typer.Option("--namespace", "-n", metavar="NAME", help="Only what is in this one."),
    ] = None,
    prefix: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Only those whose names begin with this.")
    ] = None,
    limit: Annotated[
        int, typer.Option(metavar="N", help="The most artifacts to list; 0 for all.")
    ] = 0,
    output: Output = "table",
) -> None:
    """List the artifacts of a server."""
    most = limit if limit > 0 else None
    with invocation(ctx).client() as client:
        listed = client.artifacts.list(namespace=namespace, prefix=prefix, limit=most)
        found = [plain(one) for one in listed]
    if output != "table":
        return dump(found, output)
    if not found:
        return note("no artifacts")
    from flowdapt_cli.inventory import artifact_row
    from flowdapt_cli.render import table

    return table([artifact_row(one) for one in found])


@artifacts.command()
def info(
    ctx: typer.Context,
    name: Name,
    namespace: Namespace = "default",
    version: Version = None,
    output: Output = "table",
) -> None:
    """Show what is known of an artifact: its files, its metadata, its versions."""
    with invocation(ctx).client() as client:
        found = plain(client.artifacts.info(name, namespace=namespace, version=version))
    if output != "table":
        return dump(found, output)
    from flowdapt_cli.inventory import artifact_facts, file_rows
    from flowdapt_cli.render import facts, table

    facts(artifact_facts(found))
    if found["files"]:
        typer.echo()
        table(file_rows(found))
    return None


@artifacts.command()
def get(
    ctx: typer.Context,
    name: Name,
    files: Annotated[
        list[str] | None, typer.Argument(metavar="FILE", help="Files of it; else all.")
    ] = None,
    *,
    namespace: Namespace = "default",
    version: Version = None,
    to: Annotated[Path, typer.Option(metavar="FOLDER", help="Where they go; else here.")] = Path(),
    force: Annotated[
        bool, typer.Option("--force", help="Replace files that are there already.")
    ] = False,
) -> None:
    """Bring the files of an artifact here."""
    from flowdapt_cli.transfers import target

    with invocation(ctx).client() as client:
        found = client.artifacts.info(name, namespace=namespace, version=version)
        chosen = files or [file.name for file in found.files]
        paths = {file: target(to, file, force=force) for file in chosen}
        for file, path in paths.items():
            # Of one version, whatever is written meanwhile.
            content = client.artifacts.read(name, file, namespace=namespace, version=found.version)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            typer.echo(path)


@artifacts.command()
def put(
    ctx: typer.Context,
    name: Name,
    paths: Annotated[list[Path], typer.Argument(metavar="PATH", help="Files to bring there.")],
    namespace: Namespace = "default",
) -> None:
    """Bring files into an artifact, which is made where there is none.

    Each is a version of its own. Stages may unpickle what they load, so this needs the role admin.
    """
    from flowdapt_cli.transfers import content_of

    contents = {path.name: content_of(path) for path in paths}
    if len(contents) < len(paths):
        raise CommandError("two of the files have the same name, and an artifact has no folders")
    with invocation(ctx).client() as client:
        for file, content in contents.items():
            found = client.artifacts.write(name, file, content, namespace=namespace)
            typer.echo(f"{file} is in artifact {namespace}/{name}, version {found.version}")


@artifacts.command()
def rm(
    ctx: typer.Context,
    names: Annotated[list[str], typer.Argument(metavar="NAME", help="Names of artifacts.")],
    namespace: Namespace = "default",
) -> None:
    """Remove artifacts with all their versions."""
    from flowdapt.errors import ResourceNotFound

    missing = False
    with invocation(ctx).client() as client:
        for name in names:
            try:
                client.artifacts.delete(name, namespace=namespace)
            except ResourceNotFound as error:
                note(f"Error: {error}")
                missing = True
            else:
                typer.echo(f"artifact {namespace}/{name} deleted")
    if missing:
        raise typer.Exit(FAILED)
