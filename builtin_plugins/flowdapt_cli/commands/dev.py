"""The command for people who write workflows."""

from pathlib import Path
from typing import Annotated

import typer

from flowdapt_cli.invocation import invocation
from flowdapt_cli.output import Output

dev = typer.Typer(add_completion=False)


@dev.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    options_metavar="[OPTIONS] [--KEY VALUE]...",
)
def start(
    ctx: typer.Context,
    *,
    path: Annotated[
        Path,
        typer.Argument(
            metavar="PATH", exists=True, file_okay=False, help="A folder with resources and code."
        ),
    ],
    run: Annotated[
        str | None, typer.Option(metavar="WORKFLOW", help="Run it, with inputs as --key value.")
    ] = None,
    file: Annotated[
        str | None,
        typer.Option("--input", metavar="FILE", help="Inputs as JSON or YAML; - reads stdin."),
    ] = None,
    debug: Annotated[
        bool, typer.Option("--debug", help="Compute in this process, so that breakpoint() stops.")
    ] = False,
    leave: Annotated[
        bool, typer.Option("--exit", help="Stop after that; fail where the run did.")
    ] = False,
    output: Output = "table",
) -> None:
    """Serve a folder: apply its resources, and again whenever they change.

    Code needs nothing: each run takes it as it is then. The server keeps its files in .flowdapt
    within the folder, unless --app-dir says otherwise.
    """
    from flowdapt_cli.development import Development
    from flowdapt_cli.inputs import values_of

    values = values_of(file, ctx.args)
    if values and not run:
        ctx.fail("inputs are for a run: name it with --run WORKFLOW")
    work = Development(path.resolve(), run, values, debug, leave, output)
    raise typer.Exit(work.start(invocation(ctx)))
