"""Commands over the settings; none of them needs a server."""

from pathlib import Path
from typing import Annotated, Any

import typer

from flowdapt.errors import SettingsError
from flowdapt_cli.invocation import invocation
from flowdapt_cli.output import Form, Output, dump, note

config = typer.Typer(add_completion=False, help="Show and edit the settings.", no_args_is_help=True)

Key = Annotated[str, typer.Argument(metavar="KEY", help="Such as rpc.api.port.")]


@config.command()
def show(
    ctx: typer.Context,
    as_json: Annotated[bool, typer.Option("--json/--yaml", help="How to print them.")] = False,
    raw: Annotated[bool, typer.Option("--raw", help="Only what the settings file says.")] = False,
    reveal: Annotated[bool, typer.Option("--reveal", help="Show secrets, too.")] = False,
    output: Output = "yaml",
) -> None:
    """Print every setting with the value in force; what looks like a secret is hidden."""
    from flowdapt_cli.masks import masked
    from flowdapt_cli.reading import files, settings

    found = invocation(ctx).settings()
    form: Form = "json" if as_json or output == "json" else "yaml"
    shown: Any = settings.show(found)
    if raw:
        file = found.config_file
        documents = files.parse(files.text_of(file), file) if file and file.exists() else []
        shown = documents[0].data if documents else {}
    if reveal:
        return dump(shown, form)
    hidden = masked(shown)
    dump(hidden, form)
    return None if hidden == shown else note("secrets are hidden; --reveal shows them")


@config.command()
def get(ctx: typer.Context, key: Key, output: Output = "table") -> None:
    """Print the value in force of one setting; None where there is none."""
    from flowdapt_cli.reading import settings

    value = settings.get(invocation(ctx).settings(), key)
    if output == "table" and not isinstance(value, (dict, list)):
        return typer.echo(str(value))
    return dump(value, "yaml" if output == "table" else output)


@config.command("set")
def set_(
    ctx: typer.Context,
    key: Key,
    value: Annotated[str, typer.Argument(metavar="VALUE", help="Its value from now on.")],
) -> None:
    """Change one setting in the file; comments stay."""
    from flowdapt_cli.reading import settings

    settings.set_value(_file(ctx), key, value)


@config.command()
def unset(ctx: typer.Context, key: Key) -> None:
    """Remove one setting from the file, so that its default is in force."""
    from flowdapt_cli.reading import settings

    settings.unset_value(_file(ctx), key)


def _file(ctx: typer.Context) -> Path:
    file = invocation(ctx).settings().config_file
    if file is None:
        raise SettingsError("there is no settings file to change: --config is '-'")
    return file
