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
        Path | None,
        typer.Argument(
            metavar="PATH",
            exists=True,
            file_okay=False,
            help="A folder with resources and code; with --replay, this one unless given.",
        ),
    ] = None,
    run: Annotated[
        str | None, typer.Option(metavar="WORKFLOW", help="Run it, with inputs as --key value.")
    ] = None,
    file: Annotated[
        str | None,
        typer.Option("--input", metavar="FILE", help="Inputs as JSON or YAML; - reads stdin."),
    ] = None,
    debug: Annotated[
        bool,
        typer.Option(
            "--debug",
            help="Compute in this process, so that breakpoint() stops; after a replay, go where it "
            "raised.",
        ),
    ] = False,
    leave: Annotated[
        bool, typer.Option("--exit", help="Stop after that; fail where the run did.")
    ] = False,
    replay: Annotated[
        str | None,
        typer.Option(
            metavar="RUN", help="Serve nothing: compute a stage of a server's run again, here."
        ),
    ] = None,
    stage: Annotated[
        str | None,
        typer.Option(metavar="STAGE", help="Of the replayed run; else the one that failed."),
    ] = None,
    item: Annotated[
        int | None,
        typer.Option(metavar="N", help="Of a parameterized stage; else the first that failed."),
    ] = None,
    afresh: Annotated[
        bool,
        typer.Option("--afresh", help="Compute earlier stages, too; load no stored results."),
    ] = False,
    secrets: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Values of secrets that the run's config names."),
    ] = None,
    output: Output = "table",
) -> None:
    """Serve a folder: apply its resources, and again whenever they change.

    Code needs nothing: each run takes it as it is then. The server keeps its files in .flowdapt
    within the folder, unless --app-dir says otherwise.

    With --replay RUN, a stage of a run of a server is computed again in this process, with the code
    of the folder, so that breakpoints stop; --debug opens the debugger where it raises. The server
    is only asked what the run began with. Results of earlier stages that it has stored are
    unpickled here, which may run any code: replay runs of your own servers.
    """
    from flowdapt_cli.development import Development
    from flowdapt_cli.inputs import values_of

    if replay:
        if run or leave or file or ctx.args:
            ctx.fail("a replayed run has its workflow and its input already")
        from flowdapt_cli.replaying import Replay

        folder = (path or Path()).resolve()
        again = Replay(replay, folder, stage, item, debug, afresh, secrets, output)
        raise typer.Exit(again.start(invocation(ctx)))
    if path is None:
        ctx.fail("name the folder: flowdapt dev PATH")
    if stage or item is not None or afresh or secrets:
        ctx.fail("--stage, --item, --afresh and --secrets are for --replay RUN")
    values = values_of(file, ctx.args)
    if values and not run:
        ctx.fail("inputs are for a run: name it with --run WORKFLOW")
    work = Development(path.resolve(), run, values, debug, leave, output)
    raise typer.Exit(work.start(invocation(ctx)))
