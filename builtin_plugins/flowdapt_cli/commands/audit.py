"""The command that shows who did what."""

from typing import Annotated

import typer

from flowdapt_cli.invocation import invocation
from flowdapt_cli.output import Output, dump, note, plain


def audit(
    ctx: typer.Context,
    *,
    actor: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only what this one did.")
    ] = None,
    limit: Annotated[
        int, typer.Option(metavar="N", help="The most to list, the last ones; 0 for all.")
    ] = 50,
    output: Output = "table",
) -> None:
    """Show who did what on a server, oldest first; needs a token of an administrator."""
    with invocation(ctx).client() as client:
        most = limit if limit > 0 else None
        newest = client.audit.list(actor=actor, order="newest", limit=most)
        entries = [plain(entry) for entry in newest][::-1]
    if output != "table":
        return dump(entries, output)
    if not entries:
        return note("nothing was done")
    from flowdapt_cli.render import table
    from flowdapt_cli.times import clock

    return table(
        [
            {
                "time": clock(entry["time"]),
                "by": entry.get("actor"),
                "status": entry["status"],
                "operation": entry.get("operation"),
                "request": f"{entry['method']} {entry['path']}",
                "from": entry.get("address"),
            }
            for entry in entries
        ]
    )
