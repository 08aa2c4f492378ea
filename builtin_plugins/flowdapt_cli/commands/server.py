"""Commands that start a server or ask how it is."""

from typing import Annotated, Any

import typer

from flowdapt_cli.invocation import invocation
from flowdapt_cli.output import Output, dump, plain


def serve(
    ctx: typer.Context,
    services: Annotated[
        str | None,
        typer.Option(metavar="A,B", help="Start only these services, such as rest,retention."),
    ] = None,
    insecure: Annotated[
        bool,
        typer.Option(
            "--insecure", help="Need no tokens, also where other machines reach the server."
        ),
    ] = False,
) -> None:
    """Start a server in the foreground; Ctrl-C or SIGTERM stops it."""
    from flowdapt_cli import foreground

    foreground.serve(invocation(ctx), services=services, insecure=insecure)


def status(ctx: typer.Context, output: Output = "table") -> None:
    """Show how the server is, and what it is made of."""
    with invocation(ctx).client() as client:
        found = plain(client.status())
    if output != "table":
        return dump(found, output)
    from flowdapt_cli.render import facts

    return facts(_for_people(found, client.address))


def drain(ctx: typer.Context) -> None:
    """Have the server accept no new runs; those in progress go on."""
    with invocation(ctx).client() as client:
        client.drain()
    typer.echo("no new runs are accepted; undo it: flowdapt undrain")


def undrain(ctx: typer.Context) -> None:
    """Have the server accept runs again."""
    with invocation(ctx).client() as client:
        client.undrain()
    typer.echo("runs are accepted")


def _for_people(found: dict[str, Any], address: str) -> dict[str, Any]:
    services = {name: facts["status"] for name, facts in found["services"].items()}
    compute = found["services"]["ComputeService"]
    return {
        "name": found["name"],
        "address": address,
        "version": found["version"],
        "runs": "refused, the server is draining" if found["draining"] else "accepted",
        "services": _pairs(services),
        "executor": compute["executor"],
        "environment": _pairs(compute["environment"]),
        "database": found["database"],
        "memory": f"{found['system']['memory'] / 2**20:,.0f} MiB",
        "process": found["system"]["pid"],
        "host": f"{found['hostname']}, {found['os']['name']}, Python {found['python']}",
    }


def _pairs(facts: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in facts.items())
