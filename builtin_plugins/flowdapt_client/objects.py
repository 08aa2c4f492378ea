"""What a client does with objects: it finds out which there are, and removes some.

Values are never sent; programs on the server's machine have them from :mod:`flowdapt.objects`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TypeVar

from flowdapt_client.addresses import about, path
from flowdapt_client.binding import Asking, Group, Iterating
from flowdapt_client.reading import read, read_list
from flowdapt_client.records import ObjectEntry, ObjectPage, ObjectStats
from flowdapt_client.steps import Call, Item, Items, Request
from flowdapt_client.streams import Awaiting, Blocking

KIND = "object"
PAGE = 1000  #: objects in one answer, where more are wanted

_S = TypeVar("_S", bound=Blocking | Awaiting)


class Objects(Group[_S]):
    """Values that stages and runs share by name; one is meant by its key and its namespace."""

    @Iterating
    def list(
        self,
        *,
        namespace: str | None = None,
        prefix: str | None = None,
        place: str | Collection[str] = (),
        limit: int | None = None,
    ) -> Items[ObjectEntry]:
        """Yield what is known of objects; more are asked for as they are wanted.

        They are ordered by namespace, key and place; one that is in the memory and an artifact,
        too, comes twice.

        :param namespace: only those in this one
        :param prefix: only those whose keys begin with this
        :param place: only those there: ``memory``, ``disk`` or ``artifact``
        :param limit: at most so many
        """
        places = [place] if isinstance(place, str) else [*place]
        query = {"namespace": namespace, "prefix": prefix, "place": places}
        left, after = limit, None
        while left is None or left > 0:
            size = PAGE if left is None else min(PAGE, left)
            asked = {**query, "limit": size, "after": after}
            page = read(ObjectPage, (yield Request("GET", "/objects", query=asked, kind=KIND)))
            for one in page.objects:
                yield Item(one)
            left = None if left is None else left - len(page.objects)
            after = page.next
            if after is None:
                return

    @Asking
    def info(self, key: str, *, namespace: str = "default") -> Call[Sequence[ObjectEntry]]:
        """Return what is known of an object, for each place where it is.

        :raises ResourceNotFound: it is nowhere
        """
        return (yield from _one("GET", namespace, key))

    @Asking
    def delete(self, key: str, *, namespace: str = "default") -> Call[Sequence[ObjectEntry]]:
        """Remove an object wherever it is, and return what was known of it.

        :raises ResourceNotFound: it is nowhere
        """
        return (yield from _one("DELETE", namespace, key))

    @Asking
    def stats(self) -> Call[ObjectStats]:
        """Return how full the memory is, and what the objects of each namespace come to."""
        return read(ObjectStats, (yield Request("GET", "/objects/stats", kind=KIND)))


def _one(method: str, namespace: str, key: str) -> Call[Sequence[ObjectEntry]]:
    request = Request(method, path("objects", namespace, key), kind=KIND)
    answer = yield from about(KIND, f"{namespace}/{key}", _answer(request))
    return read_list(ObjectEntry, answer)


def _answer(request: Request) -> Call[object]:
    return (yield request)
