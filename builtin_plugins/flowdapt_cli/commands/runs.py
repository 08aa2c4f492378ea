"""Commands that start, follow and stop runs."""

from typing import Annotated

import typer

from flowdapt_cli.invocation import invocation
from flowdapt_cli.output import Output, dump, note

Name = Annotated[str, typer.Argument(metavar="RUN", help="The run's name or uid.")]

run = typer.Typer(add_completion=False)


@run.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    options_metavar="[OPTIONS] [--KEY VALUE]...",
)
def start(
    ctx: typer.Context,
    *,
    workflow: Annotated[
        str | None,
        typer.Argument(metavar="WORKFLOW", help="Its name or uid; without one, start a server."),
    ] = None,
    file: Annotated[
        str | None,
        typer.Option("--input", metavar="FILE", help="Inputs as JSON or YAML; - reads stdin."),
    ] = None,
    namespace: Annotated[
        str | None,
        typer.Option(
            "--namespace", "-n", metavar="NAME", help="The namespace of the run's objects."
        ),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Whether to wait for the result.")
    ] = True,
    output: Output = "table",
    migrations: Annotated[
        bool, typer.Option("--run-migrations/--no-migrations", hidden=True)
    ] = True,
) -> None:
    """Run a workflow, show how its stages go on, and print its result.

    Inputs are given as --key value, after the workflow. A value is read as JSON where it looks like
    it, such as 3, true or '[1, 2]', and else is the text that it is.
    """
    del migrations  # of earlier servers; a storage brings itself up to date when it starts
    if workflow is None:
        from flowdapt_cli import foreground

        return foreground.serve(invocation(ctx))
    if workflow.startswith("-"):
        ctx.fail(f"the workflow comes before its inputs: flowdapt run WORKFLOW {workflow} ...")

    from flowdapt.resources import Workflow
    from flowdapt_cli.following import follow
    from flowdapt_cli.inputs import values_of
    from flowdapt_cli.kinds import find
    from flowdapt_cli.reports import report

    values = values_of(file, ctx.args)
    with invocation(ctx).client() as client:
        found = find(client, Workflow, workflow)
        begun = client.start(found["metadata"]["uid"], values, namespace)
        if not wait and output == "table":
            return typer.echo(begun["name"])
        if not wait:
            return dump(begun, output)
        note(f"run {begun['name']}")
        raise typer.Exit(report(*follow(client, begun, found), output))


def logs(ctx: typer.Context, name: Name, output: Output = "table") -> None:
    """Print what the stages of a run wrote: output, errors and log records."""
    from flowdapt_cli.reports import line

    with invocation(ctx).client() as client:
        lines = client.log(name)
        if output != "table":
            dump(list(lines), output)
        for record in lines:
            typer.echo(line(record))


def cancel(ctx: typer.Context, name: Name, output: Output = "table") -> None:
    """Stop a run; one that has ended stays as it is."""
    with invocation(ctx).client() as client:
        ended = client.cancel(name)
    if output != "table":
        return dump(ended, output)
    return typer.echo(f"run {ended['name']} {ended['state']}")
