"""Commands that start, follow and stop runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from flowdapt_cli.invocation import invocation
from flowdapt_cli.output import Form, Output, dump, dump_one, plain, say, until_interrupted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flowdapt.client import Client, Run

Name = Annotated[str, typer.Argument(metavar="RUN", help="The run's name or uid.")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Whether to wait for the result.")]

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
    wait: Wait = True,
    stream: Annotated[
        bool, typer.Option("--stream", help="Print items as they come, a line of JSON each.")
    ] = False,
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
    from flowdapt_cli.inputs import values_of
    from flowdapt_cli.kinds import find

    values = values_of(file, ctx.args)
    with invocation(ctx).client() as client:
        found = find(client, Workflow, workflow)
        if stream:
            from flowdapt_cli.streaming import stream_items

            uid = found.metadata.uid
            return stream_items(client, uid, values, namespace=namespace, output=output)
        begun = client.runs.start(found.metadata.uid, values, namespace=namespace)
        stages = [stage.name for stage in found.spec.stages]
        return _follow(client, begun, stages, output, wait=wait)


def retry(
    ctx: typer.Context,
    name: Name,
    *,
    failed_items: Annotated[
        bool, typer.Option("--failed-items", help="Compute only the elements that failed.")
    ] = False,
    wait: Wait = True,
    output: Output = "table",
) -> None:
    """Run again what has ended, with the same input, as a new run."""
    from flowdapt.errors import ResourceNotFound

    with invocation(ctx).client() as client:
        begun = client.runs.retry(name, items="failed" if failed_items else "all")
        try:
            workflow = client.workflows.get(begun.workflow)
            names = [stage.name for stage in workflow.spec.stages]
        except ResourceNotFound:  # it was deleted meanwhile, or has another name
            names = []
        _follow(client, begun, names, output, wait=wait)


def _follow(client: Client, begun: Run, stages: Sequence[str], output: Form, *, wait: bool) -> None:
    """Show how a run goes on and what comes out, or only that it began."""
    if not wait and output == "table":
        return say(begun.name)
    if not wait:
        return dump(plain(begun), output)
    from flowdapt_cli.following import follow
    from flowdapt_cli.reports import report

    ended, records = follow(client, begun, stages)
    raise typer.Exit(report(plain(ended), [*map(plain, records)], output))


def logs(
    ctx: typer.Context,
    name: Name,
    *,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the run has ended.")
    ] = False,
    output: Output = "table",
) -> None:
    """Print what the stages of a run wrote: output, errors and log records.

    With --follow, JSON is one object a line.
    """
    from flowdapt_cli.reports import line

    with invocation(ctx).client() as client, until_interrupted():
        lines = map(plain, client.runs.logs(name, follow=follow))
        if output != "table" and not follow:
            return dump(list(lines), output)
        for record in lines:
            if output != "table":
                dump_one(record, output)
            else:
                say(line(record))
    return None


def cancel(ctx: typer.Context, name: Name, output: Output = "table") -> None:
    """Stop a run; one that has ended stays as it is."""
    with invocation(ctx).client() as client:
        ended = client.runs.cancel(name)
    if output != "table":
        return dump(plain(ended), output)
    return say(f"run {ended.name} {ended.state}")
