"""Sends checked resources to a server: creates what is missing, replaces what differs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowdapt_cli.client import Client, Refused

if TYPE_CHECKING:
    from flowdapt_cli.documents import Checked


def send(client: Client, one: Checked) -> dict[str, str]:
    """Have a server store a resource where it has another or none, and return what was done."""
    collection, name = type(one.resource).collection, one.resource.name
    stored = client.find(collection, name)
    try:
        if stored is None:
            verdict = "created"
            client.create(collection, one.document.data)
        elif one.same_as(stored):
            verdict = "unchanged"
        else:
            verdict = "changed"
            client.replace(collection, name, one.document.data)
    except Refused as error:
        raise Refused(
            error.status, f"{one.title} of {one.document.where}: {error.detail}"
        ) from None
    return {"kind": one.resource.kind, "name": name, "verdict": verdict}
