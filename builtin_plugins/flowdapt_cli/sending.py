"""Sends checked resources to a server: creates what is missing, replaces what differs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowdapt.client import Refused

if TYPE_CHECKING:
    from typing import Any

    from flowdapt.client import Applied, Client
    from flowdapt_cli.documents import Checked


def send(client: Client, one: Checked, *, dry_run: bool = False) -> Applied[Any]:
    """Have a server store a resource where it has another or none, and return what was done.

    :param dry_run: only find out what would be done
    """
    resources = client.resources(type(one.resource))
    try:
        return resources.apply(one.document.data, dry_run=dry_run)
    except Refused as error:
        about = f"{one.title} of {one.document.where}: {error.detail}"
        raise Refused(error.status, about, error.errors) from None
