"""The overview of commands, and the options that stand before a command.

The overview is answered from what plugins say of their commands, so that ``flowdapt --help``
imports none of them. Every error that is raised on purpose ends here, as one line and a status.
"""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command, get_group

from flowdapt.errors import FlowdaptError, ProviderNotFound
from flowdapt.hooks import Provider
from flowdapt.plugins import Plugins
from flowdapt_cli.errors import status_of
from flowdapt_cli.invocation import Invocation, invocation
from flowdapt_cli.output import note


class Overview(TyperGroup):
    """Commands by name; one is imported when it is called, not when it is listed.

    Contexts are typer's own, of a class that it does not export.
    """

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of all commands, without those within others."""
        return list(_offered(invocation(ctx).plugins, ""))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import one command."""
        try:
            return _command(invocation(ctx).plugins, cmd_name)
        except ProviderNotFound as error:
            ctx.fail(f"{error}.")

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the overview."""
        offered = _offered(invocation(ctx).plugins, "")
        with formatter.section("Commands"):
            formatter.write_dl([(name, one.help) for name, one in offered.items()])

    def invoke(self, ctx: Any) -> Any:
        """Call the command, and put an error of ours in one line."""
        try:
            return super().invoke(ctx)
        except FlowdaptError as error:
            if ctx.params["dev"]:
                import traceback

                note("".join(traceback.format_exception(error)).rstrip())
            note(f"Error: {error}")
            raise typer.Exit(status_of(error)) from None


class Later(TyperCommand):
    """A command within another that some plugin offers; it is imported when it is called."""

    def __init__(self, plugins: Plugins, provider: Provider, name: str) -> None:
        super().__init__(name, help=provider.help, short_help=provider.help)
        self._plugins, self._offered_as = plugins, provider.name

    def make_context(self, info_name: Any, args: Any, parent: Any = None, **extra: Any) -> Any:
        """Read the arguments as the command itself does, which takes over from here."""
        command = _command(self._plugins, self._offered_as)
        return command.make_context(info_name, args, parent=parent, **extra)


def _offered(plugins: Plugins, parent: str) -> dict[str, Provider]:
    """Return what is offered within a command, by the name there; within none, the first words."""
    offers = plugins.providers("commands").items()
    split = [(*name.rpartition(" ")[::2], provider) for name, provider in offers]
    return {name: provider for within, name, provider in split if within == parent}


def _command(plugins: Plugins, name: str) -> Any:
    """Make a command of what a plugin offers: a function, or a whole ``Typer``.

    :param name: as it is offered, so with a space for one within another
    """
    found = plugins.resolve("commands", name)
    app = found
    if not isinstance(found, typer.Typer):
        app = typer.Typer(add_completion=False)
        app.command(name.rpartition(" ")[2])(found)
    app.rich_markup_mode = None  # one look for all
    command = get_command(app)
    if isinstance(command, TyperGroup):
        for inner, provider in _offered(plugins, name).items():
            if inner not in command.commands:  # nobody takes the place of a group's own
                command.add_command(Later(plugins, provider, inner))
    return command


def program(plugins: Plugins) -> Any:
    """Return the program, ready to be called."""
    app = typer.Typer(
        cls=Overview,
        name="flowdapt",
        rich_markup_mode=None,
        no_args_is_help=True,
        context_settings={"obj": Invocation(plugins), "help_option_names": ["--help", "-h"]},
    )
    app.callback()(flowdapt)
    return get_group(app)


def _version(wanted: bool) -> None:
    if wanted:
        from flowdapt import __version__

        typer.echo(f"flowdapt {__version__}")
        raise typer.Exit()


def flowdapt(
    ctx: typer.Context,
    *,
    app_dir: Annotated[
        Path | None,
        typer.Option("--app-dir", "-d", metavar="PATH", help="Where files are kept: ~/.flowdapt."),
    ] = None,
    config: Annotated[
        str | None,
        typer.Option(
            "--config",
            "-c",
            "--config-file",
            metavar="NAME",
            help="The settings file in there: flowdapt.yaml, or - for none.",
        ),
    ] = None,
    env: Annotated[
        list[Path] | None,
        typer.Option("--env", metavar="FILE", help="A dotenv file; repeatable."),
    ] = None,
    override: Annotated[
        list[str] | None,
        typer.Option(
            "--override",
            "-o",
            metavar="KEY=VALUE",
            help="A setting, such as rpc.api.port=9000; repeatable.",
        ),
    ] = None,
    server: Annotated[
        str | None,
        typer.Option(
            "--server",
            envvar=["FLOWDAPT_SERVER", "FLOWDAPT__SERVER"],
            show_envvar=False,
            metavar="URL",
            help="The server to ask; else FLOWDAPT_SERVER, the context's, the settings'.",
        ),
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(
            "--token",
            envvar="FLOWDAPT_TOKEN",
            show_envvar=False,
            metavar="TOKEN",
            help="What the server knows you by; better as FLOWDAPT_TOKEN or in a context.",
        ),
    ] = None,
    context: Annotated[
        str | None,
        typer.Option(
            "--context",
            envvar="FLOWDAPT_CONTEXT",
            show_envvar=False,
            metavar="NAME",
            help="A server by its name, see flowdapt contexts; else FLOWDAPT_CONTEXT.",
        ),
    ] = None,
    dev: Annotated[
        bool,
        typer.Option(
            "--dev",
            envvar="FLOWDAPT_DEV_MODE",
            show_envvar=False,
            help="Log everything, and show errors in full.",
        ),
    ] = False,
    safe_mode: Annotated[
        bool,
        typer.Option("--safe-mode", help="Load only the plugins that come with flowdapt."),
    ] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", "-v", help="Print the version.", callback=_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Deploy adaptive and reactive AI applications.

    Options stand before the command. Every setting can also be given as a variable such as
    FLOWDAPT__RPC__API__PORT.
    """
    del version  # its callback has answered
    if context and _stands_there(ctx, "context"):
        if server and _stands_there(ctx, "server"):
            ctx.fail("--server and --context each name a server; leave one out")
        server = None  # what variables say is about another one, and so is their token
        token = token if _stands_there(ctx, "token") else None
    ctx.obj = replace(
        invocation(ctx),
        app_dir=app_dir,
        config=config,
        env_files=tuple(env or ()),
        overrides=tuple(override or ()),
        server=server,
        token=token,
        own_token=_stands_there(ctx, "token"),
        context=context,
        dev=dev,
        safe_mode=safe_mode,
    )


def _stands_there(ctx: typer.Context, option: str) -> bool:
    """Tell whether an option stands on the command line, and not in a variable."""
    source = ctx.get_parameter_source(option)
    return source is not None and source.name == "COMMANDLINE"
