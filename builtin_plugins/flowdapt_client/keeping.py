"""What only administrators read and change: secrets, and who did what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeVar

from flowdapt_client.addresses import about, path
from flowdapt_client.binding import Asking, Group, Iterating
from flowdapt_client.reading import read, read_list
from flowdapt_client.records import AuditEntry, AuditPage, Secret
from flowdapt_client.steps import Call, Item, Items, Request
from flowdapt_client.streams import Awaiting, Blocking

PAGE = 1000  #: entries in one answer

_S = TypeVar("_S", bound=Blocking | Awaiting)


class Secrets(Group[_S]):
    """Values that configs refer to; a server never tells them."""

    @Asking
    def list(self) -> Call[Sequence[Secret]]:
        """Return which secrets there are."""
        return read_list(Secret, (yield Request("GET", "/secrets/")))

    @Asking
    def set(self, name: str, value: str) -> Call[None]:
        """Keep a secret, in place of an earlier one of that name."""
        yield Request("PUT", path("secrets", name), body={"value": value})

    @Asking
    def delete(self, name: str) -> Call[None]:
        """Forget a secret.

        :raises ResourceNotFound: there is none
        """
        yield from about("secret", name, _done(Request("DELETE", path("secrets", name))))


class Audit(Group[_S]):
    """The record of who did what."""

    @Iterating
    def list(
        self,
        *,
        after: int = 0,
        order: Literal["newest", "oldest"] = "oldest",
        limit: int | None = None,
        actor: str | None = None,
    ) -> Items[AuditEntry]:
        """Yield entries; more are asked for as they are wanted.

        :param after: only those behind this position, in this order; 0 for all
        :param order: which come first
        :param limit: at most so many
        :param actor: only what this one did
        """
        left = limit
        while left is None or left > 0:
            size = PAGE if left is None else min(PAGE, left)
            query = {"after": after, "order": order, "limit": size, "actor": actor}
            page = read(AuditPage, (yield Request("GET", "/audit", query=query)))
            for entry in page.entries:
                yield Item(entry)
            if page.next == after:
                return
            after = page.next
            left = None if left is None else left - len(page.entries)


def _done(request: Request) -> Call[None]:
    yield request
